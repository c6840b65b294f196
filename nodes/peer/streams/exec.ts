import { Channel, decodeFrame, encodeFrame, encodeJsonFrame, FRAME_BYTES_MAX, type FrameChannel } from "../../../src/api/index.ts";
import { CcError, type ContainerId } from "../../../src/base/index.ts";
import type { ContainerRuntime, ExecProcess, ExecSpec } from "../../../src/containers/index.ts";
import { windowedInput } from "./input-window.ts";
import { signalIn } from "./signals.ts";

/**
 * `cc exec` at the host that has the container: output and how it ended to the user, input and signals from there. The process
 * is its user's: when the stream is over, by whatever end of it, so is the process.
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
  const input = windowedInput({ write: (data) => process.write(data), end: () => process.endInput() }, channel, over);
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
