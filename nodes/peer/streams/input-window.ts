import { Channel, encodeJsonFrame, type FrameChannel, INPUT_WINDOW_BYTES } from "../../../src/api/index.ts";
import { asCcError, CcError } from "../../../src/base/index.ts";

/** So much of the input is taken before it is said, or all that there is. */
const TOOK_BYTES = INPUT_WINDOW_BYTES / 4;

/** Where a user's input goes. */
export type InputSink = {
  /** Resolves when there is room for more. */
  write(data: Uint8Array): Promise<void>;
  end(): Promise<void>;
};

/**
 * A user's input by a window: the user's side sends no more than was taken. So nothing on the way ever stops reading, and signals
 * and the user's end come through also to a process that does not read. What has come and not been taken is at most the window.
 */
export function windowedInput(sink: InputSink, channel: FrameChannel, over: AbortSignal): { push(data: Uint8Array): void; end(): void } {
  const waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let ended = false;
  let writing = false;
  const write = async (): Promise<void> => {
    if (writing) return;
    writing = true;
    let taken = 0;
    for (let data = waiting.shift(); data !== undefined && !over.aborted; data = waiting.shift()) {
      await sink.write(data);
      waitingBytes -= data.length;
      taken += data.length;
      if (taken < TOOK_BYTES && waiting.length > 0) continue;
      await channel.send(encodeJsonFrame(Channel.event, { type: "took", bytes: taken }));
      taken = 0;
    }
    writing = false;
    if (ended && !over.aborted) await sink.end();
  };
  const writeOn = (): void =>
    void write().catch((error: unknown) => {
      // The user has left, which the frames tell; else the input is lost, and the stream must not go on as if it were not.
      if (!over.aborted && asCcError(error).code !== "CANCELLED") channel.abort(error);
    });
  return {
    push(data) {
      if (ended) return;
      waitingBytes += data.length;
      if (waitingBytes > INPUT_WINDOW_BYTES) throw new CcError("BAD_REQUEST", `more input came than the ${INPUT_WINDOW_BYTES} bytes that may be under way`);
      waiting.push(data);
      writeOn();
    },
    end() {
      if (ended) return;
      ended = true;
      writeOn();
    },
  };
}
