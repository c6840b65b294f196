import { Channel, decodeFrame, encodeFrame, encodeJsonFrame, FRAME_BYTES_MAX, type FrameChannel, INPUT_WINDOW_BYTES } from "../../../src/api/index.ts";
import { CcError, type ContainerId } from "../../../src/base/index.ts";
import type { ContainerRuntime, ExecProcess, ExecSpec } from "../../../src/containers/index.ts";
import { signalIn } from "./signals.ts";

/** So much of its input is taken before it is said, or all that there is. */
const TOOK_BYTES = INPUT_WINDOW_BYTES / 4;

/**
 * `cc exec` at the host that has the container: output and how it ended to the user, input and signals from there. The process
 * is its user's: when the stream is over, by whatever end of it, so is the process.
 *
 * Input comes by a window: the user's side sends no more than was taken. So nothing on the way ever stops reading, and signals
 * and the user's end come through also to a process that does not read.
 */
export async function serveExec(
  runtime: Pick<ContainerRuntime, "exec">,
  id: ContainerId,
  exec: ExecSpec,
  channel: FrameChannel,
  signal: AbortSignal,
): Promise<void> {
  const started = await runtime.exec(id, exec, signal);
  const over = new AbortController();
  try {
    const gone = [untilGone(started, exec, channel, over.signal), untilAborted(signal, over.signal)];
    for (const each of gone) each.catch(() => undefined); // one of them comes last, when nobody waits any more
    await Promise.race([sendOutput(started, channel), ...gone]);
    const exit = await Promise.race([started.exit, ...gone]);
    await channel.send(
      encodeJsonFrame(Channel.event, {
        type: "end",
        exitCode: exit.exitCode,
        ...(exit.withContainer ? { reason: "its container ended, and it with it" } : {}),
      }),
    );
  } finally {
    over.abort();
    await started.end();
  }
}

async function sendOutput(process: ExecProcess, channel: FrameChannel): Promise<void> {
  for await (const { stream, data } of process.output()) {
    for (let at = 0; at < data.length; at += FRAME_BYTES_MAX)
      await channel.send(encodeFrame(stream === "stdout" ? Channel.stdout : Channel.stderr, data.subarray(at, at + FRAME_BYTES_MAX)));
  }
}

/** Passes on what comes from the user. Rejects when nothing more can. */
async function untilGone(process: ExecProcess, exec: ExecSpec, channel: FrameChannel, over: AbortSignal): Promise<never> {
  const input = createInput(process, channel, over);
  for await (const bytes of channel.frames()) {
    const frame = decodeFrame(bytes);
    if (frame.channel === Channel.control) await process.kill(signalIn(frame.payload));
    else if (exec.stdin && frame.channel === Channel.stdin) input.push(frame.payload);
    else if (exec.stdin && frame.channel === Channel.stdinEnd) input.end();
  }
  throw new CcError("CANCELLED", "the user has left, and the command is ended");
}

function untilAborted(signal: AbortSignal, over: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true, signal: over });
  });
}

/** What has come and not been taken: at most the window. */
function createInput(process: ExecProcess, channel: FrameChannel, over: AbortSignal): { push(data: Uint8Array): void; end(): void } {
  const waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let ended = false;
  let writing = false;
  const write = async (): Promise<void> => {
    if (writing) return;
    writing = true;
    let taken = 0;
    for (let data = waiting.shift(); data !== undefined && !over.aborted; data = waiting.shift()) {
      await process.write(data);
      waitingBytes -= data.length;
      taken += data.length;
      if (taken < TOOK_BYTES && waiting.length > 0) continue;
      await channel.send(encodeJsonFrame(Channel.event, { type: "took", bytes: taken }));
      taken = 0;
    }
    writing = false;
    if (ended) await process.endInput();
  };
  // Fails only by the user's having left, which the frames tell.
  const writeOn = (): void => void write().catch(() => undefined);
  return {
    push(data) {
      if (ended) return;
      waitingBytes += data.length;
      if (waitingBytes > INPUT_WINDOW_BYTES) throw new CcError("BAD_REQUEST", `more input came than the ${INPUT_WINDOW_BYTES} bytes that may be under way`);
      waiting.push(data);
      writeOn();
    },
    end() {
      ended = true;
      writeOn();
    },
  };
}
