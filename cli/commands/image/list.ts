import type { ImageState } from "../../../src/api/client-messages.ts";
import { formatDuration, formatSize } from "../../../src/base/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { ExitCode } from "../../failure.ts";

/** So much of a digest tells images apart for people; --json has all of it. */
const DIGEST_SHOWN = "sha256:".length + 12;

export default class ImageList extends CloudCommand {
  static override summary = "List the images that hosts of the mesh have, and who uses them.";
  static override examples = ["<%= config.bin %> image list", "<%= config.bin %> image list --json"];

  override async run(): Promise<number> {
    const { flags } = await this.parse(ImageList);
    const { client } = this.connect(flags);
    try {
      const { images, notAsked } = await client.call("ListImages", {});
      if (flags.json) this.printJson(images);
      else {
        const nowMs = client.nowMs();
        const full = process.stdout.isTTY !== true;
        this.printTable<ImageState>(
          [
            { title: "REFERENCE", text: (image) => image.references.join(","), shrinkTo: 20 },
            { title: "DIGEST", text: (image) => (full ? image.digest : image.digest.slice(0, DIGEST_SHOWN)) },
            { title: "SIZE", text: (image) => formatSize(image.sizeBytes), align: "right" },
            { title: "HOSTS", text: (image) => image.hosts.join(","), shrinkTo: 8 },
            { title: "USED BY", text: (image) => image.usedBy.join(","), shrinkTo: 8 },
            {
              title: "LAST USED",
              text: (image) => (image.lastUsedAtMs > 0 ? `${formatDuration(Math.max(0, nowMs - image.lastUsedAtMs))} ago` : ""),
              align: "right",
            },
          ],
          images,
        );
      }
      if (notAsked.length > 0) this.warning(`these hosts could not be asked: ${notAsked.join(", ")}; what only they have is not listed`);
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
