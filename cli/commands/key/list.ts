import type { KeyState } from "../../../src/api/client-messages.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";
import { formatTime } from "../../terminal.ts";

export default class KeyList extends CloudCommand {
  static override summary = "List access keys, with who signed them.";
  static override examples = ["<%= config.bin %> key list"];

  override async run(): Promise<number> {
    const { flags } = await this.parse(KeyList);
    const { client } = this.connect(flags);
    try {
      const { keys } = await client.call("ListKeys", {});
      const names = new Map(keys.map((key) => [key.id, key.name || key.id]));
      if (flags.json) this.printJson(keys);
      else {
        this.printTable<KeyState>(
          [
            { title: "ID", text: (key) => key.id },
            { title: "NAME", text: (key) => key.name, shrinkTo: 8 },
            { title: "ROLE", text: (key) => key.role },
            { title: "SIGNED BY", text: (key) => names.get(key.signedBy) ?? key.signedBy, shrinkTo: 8 },
            { title: "CREATED", text: (key) => formatTime(key.createdAtMs) },
            { title: "REVOKED", text: (key) => (key.revoked ? formatTime(key.revokedAtMs) || "yes" : "") },
          ],
          keys,
        );
      }
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
