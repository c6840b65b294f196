import { NotYetCommand } from "../../not-yet.ts";

export default class ImageList extends NotYetCommand {
  static override summary = "List images that the mesh has (not yet).";
  static override examples = ["<%= config.bin %> image list"];

  override async run(): Promise<number> {
    await this.parse(ImageList);
    return this.notYet("image list");
  }
}
