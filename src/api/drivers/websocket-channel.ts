import type { WebSocket } from "ws";
import { CcError } from "../../base/index.ts";
import type { FrameChannel } from "../streams.ts";

/** Above this many unsent bytes a sender waits, below the lower mark it goes on. */
const SEND_HIGH_BYTES = 1024 * 1024;
const SEND_LOW_BYTES = 256 * 1024;
/** Frames that wait for their reader: beyond this the socket is paused, so that TCP slows the sender. */
const RECEIVE_FRAMES_MAX = 16;

/** A WebSocket as a frame channel, with back-pressure in both directions. */
export function websocketChannel(socket: WebSocket): FrameChannel {
  const waiting: Uint8Array[] = [];
  let closed = false;
  let failure: unknown;
  let wake: (() => void) | undefined;
  let unsentBytes = 0;
  const senders: (() => void)[] = [];

  const finish = (error?: unknown): void => {
    closed = true;
    failure ??= error;
    wake?.();
    goOn();
  };
  const goOn = (): void => {
    for (const resolve of senders.splice(0)) resolve();
  };
  socket.on("message", (data: Buffer, isBinary) => {
    if (!isBinary) return abort(new CcError("BAD_REQUEST", "frames are binary messages"));
    waiting.push(data);
    if (waiting.length >= RECEIVE_FRAMES_MAX) socket.pause();
    wake?.();
  });
  socket.on("close", () => finish());
  socket.on("error", (error: Error & { readonly code?: string }) => {
    // What breaks the protocol's rules is the sender's fault, a connection that broke is nobody's.
    const theirs = error.code?.startsWith("WS_ERR_") === true;
    finish(
      new CcError(theirs ? "BAD_REQUEST" : "CANCELLED", theirs ? `the stream is broken: ${error.message}` : "the stream's connection was lost", {
        cause: error,
      }),
    );
  });

  async function* frames(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = waiting.shift();
      if (frame !== undefined) {
        if (waiting.length < RECEIVE_FRAMES_MAX / 2) socket.resume();
        yield frame;
      } else if (closed) {
        if (failure !== undefined) throw failure;
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
    }
  }

  async function send(frame: Uint8Array): Promise<void> {
    if (closed || socket.readyState !== socket.OPEN) throw new CcError("CANCELLED", "the other side closed the stream");
    unsentBytes += frame.length;
    // `ws` has no drain event, but says of each frame when the system has it.
    socket.send(frame, { binary: true }, () => {
      unsentBytes -= frame.length;
      if (unsentBytes <= SEND_LOW_BYTES) goOn();
    });
    if (unsentBytes > SEND_HIGH_BYTES) await new Promise<void>((resolve) => void senders.push(resolve));
  }

  function abort(reason: unknown): void {
    finish(reason);
    socket.terminate();
  }

  return {
    send,
    frames,
    end: async () => {
      if (!closed) socket.close(1000);
    },
    abort,
  };
}
