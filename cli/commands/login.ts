import { rmSync } from "node:fs";
import * as Flags from "@oclif/core/flags";
import { CloudCommand } from "../cloud-command.ts";
import { writeSecretFile } from "../drivers/files.ts";
import { ask } from "../drivers/prompt.ts";
import { ExitCode } from "../failure.ts";
import { contextFile, contextText, gatherSettings, parseSettings, resolveSetting, type SettingTexts } from "../settings.ts";

export default class Login extends CloudCommand {
  static override summary = "Save the three settings for this user, after a peer has accepted them.";
  static override description =
    "They are kept in ~/.config/container-cloud/context.json, readable for you only. Flags and environment go before them. What is missing is asked for on a terminal.";
  static override examples = [
    "<%= config.bin %> login --cc-endpoint-url https://attic:8443 --cc-access-token k....mesh --cc-secret-key @laptop.key",
    "<%= config.bin %> login --forget",
  ];
  static override flags = { forget: Flags.boolean({ description: "remove what was saved" }) };

  override async run(): Promise<number> {
    const { flags } = await this.parse(Login);
    const file = contextFile(process.env);
    if (flags.forget) {
      rmSync(file, { force: true });
      if (flags.json) this.printJson({ forgotten: file });
      else this.print(`forgot ${file}`);
      return ExitCode.done;
    }
    const texts = await this.completed(gatherSettings(flags, process.env));
    const settings = parseSettings(texts);
    const { client } = this.connectAs(settings);
    try {
      const me = await client.call("WhoAmI", {});
      writeSecretFile(file, contextText(texts));
      if (flags.json) this.printJson({ key: me.key, role: me.role, name: me.name, mesh: me.mesh || settings.credentials.mesh, peer: me.peer, file });
      else this.print(`logged in as ${me.name || me.key} (${me.role}); saved in ${file}`);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }

  /** On a terminal what is missing is asked for, the secret without showing it. */
  private async completed(texts: SettingTexts): Promise<SettingTexts> {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return texts;
    const endpointUrl = texts.endpointUrl || (await ask("Endpoint (https://HOST:PORT): ", "shown"));
    const accessToken = texts.accessToken || (await ask("Access token: ", "shown"));
    const secretKey = texts.secretKey || (await ask("Secret key (or @FILE): ", "hidden"));
    return { endpointUrl, accessToken, secretKey: resolveSetting(secretKey, "the secret key") };
  }
}
