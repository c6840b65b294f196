import { readFileSync } from "node:fs";
import * as Flags from "@oclif/core/flags";
import { callPath, callUnsigned } from "../../src/api/client.ts";
import { createDialer } from "../../src/api/drivers/dialer.ts";
import { CcError } from "../../src/base/index.ts";
import { CloudCommand } from "../cloud-command.ts";
import { systemClock, systemRandom } from "../drivers/clock.ts";
import { writeSecretFile } from "../drivers/files.ts";
import { provePeer, signWith } from "../drivers/identity.ts";
import { ExitCode, UsageError } from "../failure.ts";
import { gatherSettings, parseSettings } from "../settings.ts";
import { signedBody } from "../signed-body.ts";

const BODY_BYTES_MAX = 256 * 1024;

export default class Sign extends CloudCommand {
  static override summary = "Sign a request for curl: prints what curl's --config reads.";
  static override description =
    "The request's fields are read as JSON from --body or standard input; call, mesh, peer and token are put in. --peer is the addressed peer's id; left out, the peer at the endpoint is asked. The output holds one signed request, good once and for 5 minutes; it contains no secret.";
  static override examples = [
    "<%= config.bin %> sign --call WhoAmI | curl --insecure --config -",
    `<%= config.bin %> sign --call ListContainers --body '{"all":true}' | curl --insecure --config -`,
  ];
  static override flags = {
    call: Flags.string({ helpValue: "CALL", required: true, description: "a call of the contract, for example WhoAmI or ListContainers" }),
    body: Flags.string({ helpValue: "JSON|@FILE|-", default: "{}", description: "the request's own fields; - reads them from standard input" }),
    peer: Flags.string({ helpValue: "PEER", description: "the addressed peer's id (default: that of the peer at the endpoint)" }),
    "body-out": Flags.string({ helpValue: "FILE", description: "write the body to this file and print headers that send it from there" }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(Sign);
    const call = flags.call ?? "";
    if (!/^[A-Z][A-Za-z]{1,40}$/.test(call)) throw new UsageError(`"${call}" is not a call's name; it looks like WhoAmI or ListContainers`);
    const { endpoints, credentials } = parseSettings(gatherSettings(flags, process.env));
    const endpoint = endpoints.find((each) => each.kind === "tls") ?? endpoints[0];
    if (endpoint === undefined) throw new CcError("INTERNAL", "no endpoint");
    const peer = flags.peer ?? (await callUnsigned({ dialer: createDialer(provePeer(credentials.mesh)), clock: systemClock }, endpoint, "Hello", {})).peer;
    const body = signedBody(
      { call, mesh: credentials.mesh, peer, token: Buffer.from(systemRandom.bytes(18)).toString("base64url") },
      this.readBody(flags.body ?? "{}"),
    );
    const bytes = Buffer.from(body);
    const headers = signWith(credentials)({
      body: bytes,
      createdS: Math.floor(systemClock.nowMs() / 1000),
      nonce: Buffer.from(systemRandom.bytes(16)).toString("base64url"),
    });
    const url = `${endpoint.kind === "tls" ? endpoint.url : "http://localhost"}${callPath(call)}`;
    const all = { "content-type": "application/json", ...headers };
    if (flags["body-out"] !== undefined) writeSecretFile(flags["body-out"], body);
    if (flags.json) this.printJson({ url, headers: all, body });
    else {
      const data = flags["body-out"] === undefined ? quote(body) : quote(`@${flags["body-out"]}`);
      const lines = [`url = ${quote(url)}`, ...Object.entries(all).map(([name, value]) => `header = ${quote(`${name}: ${value}`)}`), `data-binary = ${data}`];
      if (endpoint.kind === "unix") lines.push(`unix-socket = ${quote(endpoint.path)}`);
      this.print(lines.join("\n"));
    }
    return ExitCode.done;
  }

  private readBody(text: string): string {
    if (text !== "-" && !text.startsWith("@")) return text;
    const file = text === "-" ? 0 : text.slice(1);
    try {
      const content = readFileSync(file, "utf8");
      if (content.length > BODY_BYTES_MAX) throw new UsageError(`the body is longer than ${BODY_BYTES_MAX} bytes`);
      return content;
    } catch (error) {
      if (error instanceof UsageError) throw error;
      throw new UsageError(`the body cannot be read from ${text === "-" ? "standard input" : text.slice(1)}`);
    }
  }
}

/** A value of curl's configuration file: in double quotes, with a backslash before what they would end. */
function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t")}"`;
}
