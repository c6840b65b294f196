import type { Caller, FrameChannel } from "../../../../src/api/index.ts";
import type { ContainerRuntime, DesiredContainers } from "../../../../src/containers/index.ts";
import type { BlobSource, ImageLibrary } from "../../../../src/images/index.ts";
import { imageHandlers } from "../handlers/images.ts";
import type { HandlerParts, Some } from "../handlers/parts.ts";
import { pushHandlers } from "../handlers/push.ts";
import { keepImages, uploadsNamed } from "./keeper.ts";
import { createSecondHost } from "./second-host.ts";
import { type PeerStream, serveBlobs } from "./serve-blobs.ts";

export type ImageSharing = {
  readonly signed: Some<"missingBlobs" | "listImages" | "removeImages">;
  readonly push: (caller: Caller, channel: FrameChannel, signal: AbortSignal) => Promise<void>;
  /** What other hosts may open streams for. */
  readonly peerStreams: { readonly Blob: PeerStream };
  /** Looks after this host's images until the signal. */
  readonly keep: (signal: AbortSignal) => Promise<void>;
};

export type ImageSharingParts = {
  readonly library: ImageLibrary;
  readonly source: BlobSource;
  readonly desired: Pick<DesiredContainers, "all" | "isOver">;
  readonly runtime: Pick<ContainerRuntime, "list">;
};

/** Images as the mesh has them: brought by users, given from host to host, listed, removed and collected. */
export function createImageSharing(handlers: HandlerParts, images: ImageSharingParts): ImageSharing {
  const parts = {
    ...handlers,
    ...images,
    log: handlers.log.child({ part: "images" }),
    reachable: () => handlers.liveness.reachable(),
    named: () => new Set(uploadsNamed(handlers.view).keys()),
  };
  const keeping = { ...parts, second: createSecondHost(parts) };
  const { missingBlobs, push } = pushHandlers(keeping);
  return { signed: { missingBlobs, ...imageHandlers(keeping) }, push, peerStreams: serveBlobs(parts), keep: (signal) => keepImages(keeping, signal) };
}
