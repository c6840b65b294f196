import * as Args from "@oclif/core/args";
import { CloudCommand } from "../../cloud-command.ts";

export default class ImageRm extends CloudCommand {
  static override summary = "Remove images that no container uses from all hosts; what is already gone succeeds.";
  static override examples = ["<%= config.bin %> image rm docker.io/library/alpine:latest", "<%= config.bin %> image rm sha256:..."];
  static override args = { images: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "references or digests" }) };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(ImageRm);
    const { client } = this.connect(flags);
    try {
      const { done, errors, notAsked } = await client.call("RemoveImages", { images: argv.map(String) });
      if (flags.json) this.printJson({ done, errors, notAsked });
      else for (const item of done) this.print(item);
      if (notAsked.length > 0) this.warning(`these hosts could not be asked: ${notAsked.join(", ")}; what only they have may still be there`);
      return this.reportErrors(errors);
    } finally {
      client.close();
    }
  }
}
