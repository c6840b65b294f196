import { assertNever, formatSize } from "../../../src/base/index.ts";
import type { ImageStore, PullProgress } from "../../../src/images/index.ts";
import type { ContainerView } from "../../../src/state/index.ts";
import type { PhaseBoard } from "../phase-board.ts";
import { readRun } from "./run-requests.ts";

/** Shows what a pull is at to those who wait for a container of that image. */
export function withProgress(images: ImageStore, board: PhaseBoard, containersHere: () => readonly ContainerView[]): ImageStore {
  const show = (reference: string, progress: PullProgress): void => {
    for (const container of containersHere()) {
      const now = board.of(container.id);
      if (now?.phase !== "pulling") continue;
      const read = readRun(container.request);
      if (read.ok && read.value.spec.image === reference) board.set(container.id, { ...now, progress: textOf(progress) });
    }
  };
  return {
    local: (reference, digest) => images.local(reference, digest),
    list: () => images.list(),
    pull: (reference, options) =>
      images.pull(reference, {
        ...options,
        onProgress: (progress) => {
          options.onProgress?.(progress);
          show(reference, progress);
        },
      }),
  };
}

function textOf(progress: PullProgress): string {
  switch (progress.step) {
    case "resolving":
      return "asking the registry";
    case "fetching":
      return progress.totalBytes > 0 ? `pulling ${formatSize(progress.doneBytes)} of ${formatSize(progress.totalBytes)}` : "pulling";
    case "unpacking":
      return `unpacking layer ${progress.layer} of ${progress.layers}`;
    default:
      return assertNever(progress);
  }
}
