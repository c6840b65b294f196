import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { asCcError, CcError, isZone } from "../../src/base/index.ts";
import { createLogger, systemClock, systemRandom } from "../../src/host/index.ts";
import { runPeer } from "./compose.ts";
import { describeConfig, loadConfig, type PeerConfig } from "./config.ts";
import { initHost, joinMesh } from "./membership.ts";

const HELP = `cc-peer: one host of a container cloud

  cc-peer init [--name NAME] [--zone ZONE] [--json]   make a mesh; prints the recovery key and the first admin's settings, once
  cc-peer join INVITE|@FILE [--name NAME]             make this host a member of a mesh (the invite comes from \`cc host invite\`)
  cc-peer run [--accept-lost-store]                   run the peer, until interrupted
  cc-peer config                                      every field of the configuration

Options of all: --config FILE (default /etc/container-cloud/peer.json), --data-dir, --run-dir, --log-level.
`;

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      config: { type: "string" },
      name: { type: "string" },
      zone: { type: "string" },
      "data-dir": { type: "string" },
      "run-dir": { type: "string" },
      "log-level": { type: "string" },
      json: { type: "boolean" },
      "accept-lost-store": { type: "boolean" },
      help: { type: "boolean", short: "h" },
      version: { type: "boolean" },
    },
  });
  const [command, ...rest] = positionals;
  if (values.version === true) return say(`cc-peer ${packageVersion()}`);
  if (values.help === true || command === undefined) return say(HELP);
  if (command === "config") return say(describeConfig());

  const config = (): PeerConfig =>
    loadConfig({
      file: values.config,
      flags: { name: values.name, zone: values.zone, dataDir: values["data-dir"], runDir: values["run-dir"], logLevel: values["log-level"] },
      env: process.env,
    });
  const noMore = (): void => {
    if (rest.length > 0) throw new CcError("BAD_USAGE", `cc-peer ${command} takes no "${rest[0]}"`);
  };
  switch (command) {
    case "init": {
      noMore();
      const settings = config();
      if (!isZone(settings.zone)) throw new CcError("BAD_USAGE", `"${settings.zone}" is not a zone`);
      const made = await initHost(settings, settings.zone, systemRandom, systemClock);
      return say(values.json === true ? JSON.stringify(made) : foundedText(made));
    }
    case "join": {
      const [given, ...more] = rest;
      if (given === undefined || more.length > 0) throw new CcError("BAD_USAGE", "give one invite: cc-peer join INVITE, or cc-peer join @FILE");
      const text = given.startsWith("@") ? await readInvite(given.slice(1)) : given;
      const joined = await joinMesh(config(), text, systemRandom, systemClock);
      return say(values.json === true ? JSON.stringify(joined) : `This host is ${joined.peer} in zone ${joined.zone} now. Next: cc-peer run`);
    }
    case "run":
      noMore();
      return runUntilInterrupted(config(), values["accept-lost-store"] === true);
    default:
      throw new CcError("BAD_USAGE", `there is no cc-peer ${command}; see cc-peer --help`);
  }
}

async function readInvite(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const why = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw new CcError("BAD_USAGE", `the invite is to be read from ${file}, which cannot be read (${why})`, { cause: error });
  }
}

function foundedText(made: {
  readonly recoveryKey: string;
  readonly endpointUrl: string;
  readonly accessToken: string;
  readonly secretKey: string;
  readonly meshId: string;
}): string {
  return [
    `Mesh ${made.meshId} is made. The recovery key makes admin keys when all others are lost. It is shown this once and kept nowhere:`,
    "",
    `  ${made.recoveryKey}`,
    "",
    "Settings of the first admin, for `cc` (or for `cc login`); the secret key is shown this once too:",
    "",
    `  export CC_ENDPOINT_URL=${made.endpointUrl}`,
    `  export CC_ACCESS_TOKEN=${made.accessToken}`,
    `  export CC_SECRET_KEY=${made.secretKey}`,
    "",
    "Next: cc-peer run",
  ].join("\n");
}

async function runUntilInterrupted(config: PeerConfig, acceptLostStore: boolean): Promise<number> {
  const log = createLogger({ level: config.logLevel });
  const stopping = new AbortController();
  const stop = (signal: string): void => {
    if (stopping.signal.aborted) process.exit(1);
    log.info({ signal }, "stopping; containers run on");
    stopping.abort(new CcError("CANCELLED", "the peer was asked to stop"));
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  await runPeer(config, {
    acceptLostStore,
    version: packageVersion(),
    log,
    signal: stopping.signal,
    onReady: (peer) => void say(JSON.stringify({ ready: true, peer })),
  });
  return 0;
}

function packageVersion(): string {
  const pack: unknown = JSON.parse(
    readFileSync(new URL(import.meta.url.includes("/dist/") ? "../../../package.json" : "../../package.json", import.meta.url), "utf8"),
  );
  return typeof pack === "object" && pack !== null && "version" in pack ? String(pack.version) : "unknown";
}

function say(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (thrown: unknown) => {
    const usage = thrown instanceof TypeError && "code" in thrown && String(thrown.code).startsWith("ERR_PARSE_ARGS");
    const error = usage ? new CcError("BAD_USAGE", `${thrown.message}; see cc-peer --help`) : asCcError(thrown);
    process.stderr.write(`Error [${error.code}]: ${error.message}\n`);
    if (error.code === "INTERNAL") process.stderr.write(`${error.cause instanceof Error ? error.cause.stack : ""}\n`);
    process.exit(error.code === "BAD_USAGE" ? 2 : 1);
  },
);
