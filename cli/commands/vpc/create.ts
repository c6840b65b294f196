import * as Flags from "@oclif/core/flags";
import { NotYetCommand } from "../../not-yet.ts";

export default class VpcCreate extends NotYetCommand {
  static override summary = "Make a private network in a zone; prints its id (not yet).";
  static override examples = ["<%= config.bin %> vpc create --cidr 10.7.0.0/16 --name shop"];
  static override flags = {
    cidr: Flags.string({ helpValue: "CIDR", required: true, description: "its range of addresses" }),
    name: Flags.string({ helpValue: "NAME", required: true, description: "its name" }),
    zone: Flags.string({ helpValue: "ZONE", description: "its zone (default: that of the peer that is asked)" }),
  };

  override async run(): Promise<number> {
    await this.parse(VpcCreate);
    return this.notYet("vpc create");
  }
}
