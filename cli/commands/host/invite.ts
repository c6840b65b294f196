import * as Flags from "@oclif/core/flags";
import { isZone, parseDuration } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { makeInvite, newKeyPair } from "../../drivers/identity.ts";
import { ExitCode, UsageError, usable } from "../../failure.ts";

export default class HostInvite extends CloudCommand {
  static override summary = "Print an invite with which a host can join: cc-peer join INVITE.";
  static override description = "The invite is a secret: whoever has it can join. The peer that issued it admits the host, so it has to be up then.";
  static override examples = ["<%= config.bin %> host invite", "<%= config.bin %> host invite --zone attic --uses 3 --valid-for 7d"];
  static override flags = {
    zone: Flags.string({ helpValue: "ZONE", description: "the joining host's zone (default: that of the peer that issues it)" }),
    uses: Flags.integer({ min: 1, max: 1000, default: 1, description: "how many hosts may join with it" }),
    "valid-for": Flags.string({ helpValue: "TIME", default: "24h", description: "how long it can be used" }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(HostInvite);
    if (flags.zone !== undefined && !isZone(flags.zone))
      throw new UsageError(`"${flags.zone}" is not a zone's name; use small letters, digits and hyphens, at most 32`);
    const validForMs = usable(parseDuration(flags["valid-for"] ?? "24h"));
    if (validForMs < 1000) throw new UsageError("an invite has to be valid for a second at least");
    const { client, mesh } = this.connect(flags);
    try {
      const key = newKeyPair();
      const reply = await client.call("CreateInvite", (peer) => ({
        zone: flags.zone ?? peer.zone,
        uses: flags.uses ?? 1,
        validForMs,
        publicKey: key.publicKey,
      }));
      const expiresAtMs = Math.floor(client.nowMs()) + validForMs;
      const { invite, zone } = makeInvite({
        mesh,
        id: reply.id,
        zone: flags.zone,
        seed: key.seed,
        issuer: client.answeredBy,
        endpoints: reply.endpoints,
        addresses: reply.addresses,
        expiresAtMs,
      });
      if (flags.json) this.printJson({ id: reply.id, zone, uses: flags.uses, expiresAtMs, invite, copies: reply.copies });
      else this.print(invite);
      if (process.stdout.isTTY && !flags.json)
        this.note(
          `On the host that joins: cc-peer join INVITE   (zone ${zone}, ${flags.uses} use${flags.uses === 1 ? "" : "s"}, valid for ${flags["valid-for"]}; keep it secret)`,
        );
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
