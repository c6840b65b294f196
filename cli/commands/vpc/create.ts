import * as Flags from "@oclif/core/flags";
import { isName, isZone, parseCidr } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode, UsageError, usable } from "../../failure.ts";

export default class VpcCreate extends CloudCommand {
  static override summary = "Make a private network in a zone; prints its id.";
  static override description = "Two of them may have the same addresses: they never meet. IPv4, /8 to /29; the first address is the gateway.";
  static override examples = ["<%= config.bin %> vpc create --cidr 10.7.0.0/16 --name shop"];
  static override flags = {
    cidr: Flags.string({ helpValue: "CIDR", required: true, description: "its addresses, for example 10.7.0.0/16" }),
    name: Flags.string({ helpValue: "NAME", required: true, description: "small letters, digits and hyphens" }),
    zone: Flags.string({ helpValue: "ZONE", description: "its zone (default: that of the peer that is asked)" }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(VpcCreate);
    if (!isName(flags.name))
      throw new UsageError(`--name "${flags.name}" is not a name that a VPC can have; use small letters, digits and hyphens, at most 63`);
    if (flags.zone !== undefined && !isZone(flags.zone)) throw new UsageError(`--zone "${flags.zone}" is not a zone; cc host list shows zones`);
    usable(parseCidr(flags.cidr));
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("CreateVpc", { name: flags.name, cidr: flags.cidr, zone: flags.zone ?? "" });
      if (flags.json) this.printJson({ id: reply.id, name: flags.name, copies: reply.copies });
      else this.print(reply.id);
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
