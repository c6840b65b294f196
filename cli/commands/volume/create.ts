import * as Flags from "@oclif/core/flags";
import { CcError, isName } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode, UsageError, usable } from "../../failure.ts";
import { parseByteSize } from "../../options.ts";

export default class VolumeCreate extends CloudCommand {
  static override summary = "Make a volume; prints its id.";
  static override examples = ["<%= config.bin %> volume create --size 10g --name data"];
  static override flags = {
    size: Flags.string({ helpValue: "BYTES", required: true, description: "its size: bytes, or 512m, 10GiB; 16 MiB to 16 TiB" }),
    name: Flags.string({ helpValue: "NAME", required: true, description: "small letters, digits and hyphens" }),
    persistent: Flags.boolean({ description: "kept on two hosts, survives the loss of one (not yet)" }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(VolumeCreate);
    if (flags.persistent) throw new CcError("NOT_YET", "--persistent is not there yet; leave it out for a volume that lives on one host");
    if (!isName(flags.name))
      throw new UsageError(`--name "${flags.name}" is not a name that a volume can have; use small letters, digits and hyphens, at most 63`);
    const sizeBytes = usable(parseByteSize(flags.size, 1));
    const { client } = this.connect(flags);
    try {
      const reply = await client.call("CreateVolume", { name: flags.name, sizeBytes });
      if (flags.json) this.printJson({ id: reply.id, name: flags.name, copies: reply.copies });
      else this.print(reply.id);
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
