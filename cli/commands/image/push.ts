import * as Args from "@oclif/core/args";
import { NotYetCommand } from "../../not-yet.ts";

export default class ImagePush extends NotYetCommand {
  static override summary = "Bring an image from this machine into the mesh (not yet).";
  static override examples = ["<%= config.bin %> image push oci:build:latest"];
  static override args = { image: Args.string({ required: true, ignoreStdin: true, description: "oci:DIR[:TAG], docker-archive:FILE or dir:DIR" }) };

  override async run(): Promise<number> {
    await this.parse(ImagePush);
    return this.notYet("image push");
  }
}
