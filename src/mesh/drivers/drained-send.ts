import type { Stream } from "@libp2p/interface";
import { CcError } from "../../base/index.ts";

const gone = (stream: Stream): CcError => new CcError("CANCELLED", `the stream to the peer is gone (${stream.status})`);

/**
 * Sends, and resolves when there is room for more. Not by `onDrain()`: its promise is never renewed, so it works once a
 * stream and later writers would buffer everything. The `drain` event is told each time.
 */
export function sendDrained(stream: Stream, bytes: Uint8Array): Promise<void> {
  if (stream.writeStatus !== "writable") return Promise.reject(gone(stream));
  try {
    stream.send(bytes);
  } catch (error) {
    return Promise.reject(new CcError("CANCELLED", "the stream to the peer is gone", { cause: error }));
  }
  return stream.writableNeedsDrain ? drained(stream) : Promise.resolve();
}

function drained(stream: Stream): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      const broken = stream.writeStatus === "closed";
      if (stream.writableNeedsDrain && !broken) return; // the window was smaller than what waits: wait for the next
      stream.removeEventListener("drain", onDrain);
      stream.removeEventListener("close", settle);
      if (broken) reject(gone(stream));
      else resolve();
    };
    // The stream sends what waits in a microtask that it queued before ours: look after that.
    const onDrain = (): void => queueMicrotask(settle);
    stream.addEventListener("drain", onDrain);
    stream.addEventListener("close", settle);
  });
}
