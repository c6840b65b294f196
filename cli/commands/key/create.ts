import * as Flags from "@oclif/core/flags";
import { parseEndpoints } from "../../../src/api/client-connection.ts";
import { CcError, isName } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { createSecretFile } from "../../drivers/files.ts";
import { accessTokenFor, newKeyPair, readRecoveryKey } from "../../drivers/identity.ts";
import { ExitCode, UsageError, usable } from "../../failure.ts";
import { gatherSettings, resolveSetting, type SettingFlags } from "../../settings.ts";

export default class KeyCreate extends CloudCommand {
  static override summary = "Make an access key; its secret is made here and shown once.";
  static override description =
    "The peers get the public half only. Roles: viewer sees lists and status, operator does everything with containers, admin also keys and hosts.";
  static override examples = [
    "<%= config.bin %> key create --role operator --name laptop --out laptop.key",
    "<%= config.bin %> key create --role admin --name rescue --recovery-key-file recovery.key",
  ];
  static override flags = {
    role: Flags.string({ options: ["viewer", "operator", "admin"], required: true, description: "what the key may do" }),
    name: Flags.string({ helpValue: "NAME", default: "", description: "whose or what for" }),
    out: Flags.string({ helpValue: "FILE", description: "write the secret to a new file (mode 0600) instead of showing it" }),
    "recovery-key-file": Flags.string({ helpValue: "FILE", description: "sign with the mesh's recovery key, where all admin keys are lost" }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(KeyCreate);
    const name = flags.name ?? "";
    if (name !== "" && !isName(name)) throw new UsageError(`"${name}" is not a name that a key can have; use small letters, digits and hyphens, at most 63`);
    const { client, mesh } = this.connectFor(flags, flags["recovery-key-file"]);
    try {
      const key = newKeyPair();
      // Before anybody knows the key: a file that cannot be written must not leave a key without its secret.
      if (flags.out !== undefined) this.writeSecret(flags.out, key.secretKey);
      const reply = await client.call("CreateKey", { publicKey: key.publicKey, role: flags.role, name });
      const accessToken = accessTokenFor(key.keyId, mesh);
      const secret = flags.out === undefined ? key.secretKey : `@${flags.out}`;
      if (flags.json) this.printJson({ id: reply.id || key.keyId, role: flags.role, name, accessToken, secretKey: secret, copies: reply.copies });
      else
        this.print(
          `export CC_ACCESS_TOKEN=${accessToken}\nexport CC_SECRET_KEY=${/^[\w@./-]+$/.test(secret) ? secret : `'${secret.replaceAll("'", `'\\''`)}'`}`,
        );
      if (flags.out === undefined) this.note("The secret is shown only now and kept nowhere.");
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }

  private connectFor(flags: SettingFlags, recoveryKeyFile: string | undefined): ReturnType<CloudCommand["connectAs"]> {
    if (recoveryKeyFile === undefined) return this.connect(flags);
    const { endpointUrl } = gatherSettings(flags, process.env);
    return this.connectAs({
      endpoints: usable(parseEndpoints(endpointUrl)),
      credentials: usable(readRecoveryKey(resolveSetting(`@${recoveryKeyFile}`, "the recovery key"))),
    });
  }

  private writeSecret(file: string, secretKey: string): void {
    try {
      createSecretFile(file, `${secretKey}\n`);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
      throw new CcError(
        "BAD_REQUEST",
        code === "EEXIST" ? `${file} is there already; nothing was made, choose another name` : `${file} cannot be written (${code}); nothing was made`,
      );
    }
  }
}
