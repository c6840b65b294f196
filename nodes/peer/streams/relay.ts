import { pipe } from "it-pipe";
import type { FrameChannel } from "../../../src/api/index.ts";
import { freeBuffer } from "../../../src/base/index.ts";

/**
 * Carries frames both ways until the far side has ended. Each frame is taken only when the other side has room, so a
 * slow reader slows the writer and nothing piles up here. The near side's end (no more input) is passed on; its loss
 * ends both.
 */
export async function relay(near: FrameChannel, far: FrameChannel, signal: AbortSignal): Promise<void> {
  const onAbort = (): void => far.abort(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  // The input's reader waits for a user who may never type again: it ends with the near side, after this has returned.
  void pipe(near.frames(), into(far))
    .then(() => far.end())
    .catch((error: unknown) => far.abort(error));
  try {
    await pipe(far.frames(), into(near));
  } finally {
    signal.removeEventListener("abort", onAbort);
    far.abort(new Error("the stream is over"));
  }
}

function into(to: FrameChannel): (frames: AsyncIterable<Uint8Array>) => Promise<void> {
  return async (frames) => {
    for await (const frame of frames) {
      const sent = to.send(frame);
      freeBuffer(frame);
      await sent;
    }
  };
}
