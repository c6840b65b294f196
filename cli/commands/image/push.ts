import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";
import { pushImage } from "../../push-image.ts";

export default class ImagePush extends CloudCommand {
  static override summary = "Bring an image from this machine into the mesh; prints the reference to pass to --image.";
  static override description = "Only what no reachable host has is sent. The image lies on two hosts, and goes after an hour unless a container uses it.";
  static override examples = [
    "<%= config.bin %> image push oci:build:latest",
    "<%= config.bin %> image push docker-archive:web.tar --name web",
    "<%= config.bin %> image push docker-daemon:web:dev",
  ];
  static override args = {
    image: Args.string({ required: true, ignoreStdin: true, description: "oci:DIR[:TAG], docker-archive:FILE, dir:DIR or docker-daemon:NAME[:TAG]" }),
  };
  static override flags = {
    name: Flags.string({ helpValue: "NAME", description: "what it is called in the mesh (default: after its folder, file or repository)" }),
  };

  override async run(): Promise<number> {
    const { flags, args } = await this.parse(ImagePush);
    const { client } = this.connect(flags);
    try {
      const pushed = await pushImage(client, args.image, { name: flags.name, note: (text) => this.note(text), warn: (text) => this.warning(text) });
      if (flags.json) this.printJson(pushed);
      else this.print(pushed.reference);
      this.reportCopies(pushed.copies);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
