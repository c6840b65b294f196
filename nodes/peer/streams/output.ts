import {
  Channel,
  decodeFrame,
  encodeFrame,
  encodeJsonFrame,
  encodeOutputFrame,
  FRAME_BYTES_MAX,
  type FrameChannel,
  POSITION_BYTES,
} from "../../../src/api/index.ts";
import { asCcError, CcError, type ContainerId } from "../../../src/base/index.ts";
import type { ContainerInput, ContainerRuntime, OutputChunk } from "../../../src/containers/index.ts";
import type { PhaseBoard, PhaseNow } from "../phase-board.ts";
import { type InputSink, windowedInput } from "./input-window.ts";
import { signalIn } from "./signals.ts";
import { createTimestamper } from "./timestamps.ts";

export type OutputParts = { readonly runtime: ContainerRuntime; readonly board: PhaseBoard };

export type LogsWish = {
  readonly follow: boolean;
  readonly sinceMs: number;
  readonly tail: number;
  readonly timestamps: boolean;
  /** 0: from the start; else where an earlier stream broke off, and which lines were open there. */
  readonly from: number;
  readonly openLines: readonly string[];
};
export type AttachWish = { readonly stdin: boolean; readonly from: number };

const DATA_BYTES_MAX = FRAME_BYTES_MAX - POSITION_BYTES;

/** `cc logs` at the host that has the container: its history, then, with `follow`, what comes until it has ended for good. */
export async function serveLogs(parts: OutputParts, id: ContainerId, wish: LogsWish, channel: FrameChannel, signal: AbortSignal): Promise<void> {
  const isOpen = (stream: string): boolean => wish.openLines.includes(stream);
  const stamp = wish.timestamps ? { stdout: createTimestamper(isOpen("stdout")), stderr: createTimestamper(isOpen("stderr")) } : undefined;
  let first = true;
  await followRuns(parts, id, wish.follow, startOf(wish.from), signal, (from) => {
    const since = wish.sinceMs > 0 ? { sinceMs: wish.sinceMs } : {};
    const bounds = first ? { ...since, ...(wish.tail >= 0 && wish.from === 0 ? { tail: wish.tail } : {}) } : {};
    first = false;
    return sendOutput(channel, parts.runtime.logs(id, { from, follow: wish.follow, ...bounds, signal }), from, stamp);
  });
  await channel.send(encodeJsonFrame(Channel.event, { type: "end" }));
}

/**
 * An attached run at the host that has the container: output from the first byte, or where an earlier stream broke off, input and signals in, and at the end how
 * it ended. Whoever detaches leaves the container running.
 */
export async function serveAttached(parts: OutputParts, id: ContainerId, wish: AttachWish, channel: FrameChannel, signal: AbortSignal): Promise<void> {
  const start = startOf(wish.from);
  const input = passInput(parts, id, wish.stdin, channel, signal);
  // Its failure is the user's hanging up, which ends the output's sending too.
  input.catch(() => undefined);
  await started(parts.board, id, channel, signal);
  await channel.send(encodeJsonFrame(Channel.event, { type: "started", id }));
  await followRuns(parts, id, true, start, signal, (from) => sendOutput(channel, parts.runtime.logs(id, { from, follow: true, signal }), from, undefined));
  const end = await parts.board.until(id, isOver, signal);
  if (end.failure !== undefined) throw failureOf(end);
  await channel.send(
    encodeJsonFrame(Channel.event, {
      type: "end",
      ...(end.exitCode === undefined ? {} : { exitCode: end.exitCode }),
      ...(end.reason === "" ? {} : { reason: end.reason }),
    }),
  );
}

function startOf(from: number): number {
  if (!Number.isSafeInteger(from) || from < 0) throw new CcError("BAD_REQUEST", `${from} is no position in a container's output`);
  return from;
}

const isOver = (now: PhaseNow): boolean => now.phase === "ended" || now.phase === "failed" || now.phase === "gone" || now.phase === "yielded";

/** Waits for the process, telling what the wait is for. Throws what kept it from starting. */
async function started(board: PhaseBoard, id: ContainerId, channel: FrameChannel, signal: AbortSignal): Promise<void> {
  let told = "";
  for (;;) {
    const now = await board.until(id, (phase) => hasStarted(phase) || isOver(phase) || (phase.progress !== "" && phase.progress !== told), signal);
    if (now.failure !== undefined) throw failureOf(now);
    if (hasStarted(now) || isOver(now)) return;
    told = now.progress;
    await channel.send(encodeJsonFrame(Channel.event, { type: "progress", text: told }));
  }
}

const hasStarted = (now: PhaseNow): boolean => now.startedAtMs > 0 && (now.phase === "running" || now.phase === "stopping" || now.phase === "backoff");

function failureOf(now: PhaseNow): CcError {
  return new CcError(now.failure ?? "CONTAINER_FAILED", now.reason === "" ? "the container could not be started" : now.reason);
}

/** Follows the output through restarts: after each run's end it goes on where it was, until the container has ended for good. */
async function followRuns(
  parts: OutputParts,
  id: ContainerId,
  follow: boolean,
  start: number,
  signal: AbortSignal,
  send: (from: number) => Promise<number>,
): Promise<void> {
  let from = start;
  for (;;) {
    from = await send(from);
    if (!follow) return;
    const runs = parts.board.of(id)?.startedAtMs ?? 0;
    const next = await parts.board.until(id, (now) => isOver(now) || (now.phase === "running" && now.startedAtMs !== runs), signal);
    if (isOver(next)) {
      await send(from);
      return;
    }
  }
}

/**
 * Every chunk's last frame says where it ends, so that whoever loses the stream can go on behind it elsewhere. The first chunk
 * is empty: it says where reading begins, which only the history knows (the last ten lines, the oldest that is kept).
 */
async function sendOutput(
  channel: FrameChannel,
  chunks: AsyncIterable<OutputChunk>,
  from: number,
  stamp: Readonly<Record<"stdout" | "stderr", (atMs: number, data: Uint8Array) => Uint8Array>> | undefined,
): Promise<number> {
  let position = from;
  for await (const chunk of chunks) {
    if (chunk.lostBytes !== undefined && chunk.lostBytes > 0) {
      await channel.send(encodeJsonFrame(Channel.event, { type: "lost", bytes: chunk.lostBytes }));
    }
    const data = stamp === undefined ? chunk.data : stamp[chunk.stream](chunk.atMs, chunk.data);
    let at = 0;
    for (; data.length - at > DATA_BYTES_MAX; at += DATA_BYTES_MAX)
      await channel.send(encodeFrame(chunk.stream === "stdout" ? Channel.stdout : Channel.stderr, data.subarray(at, at + DATA_BYTES_MAX)));
    await channel.send(encodeOutputFrame(chunk.stream, chunk.position, data.subarray(at)));
    position = chunk.position;
  }
  return position;
}

async function passInput(parts: OutputParts, id: ContainerId, stdin: boolean, channel: FrameChannel, signal: AbortSignal): Promise<void> {
  const runs = (): Promise<unknown> => parts.board.until(id, (now) => hasStarted(now) || isOver(now), signal);
  const input = windowedInput(inputOf(parts, id, channel, runs), channel, signal);
  for await (const bytes of channel.frames()) {
    const frame = decodeFrame(bytes);
    if (frame.channel === Channel.control) {
      const name = signalIn(frame.payload);
      await runs();
      await parts.runtime.kill(id, name);
    } else if (stdin && frame.channel === Channel.stdin) input.push(frame.payload);
    else if (stdin && frame.channel === Channel.stdinEnd) input.end();
  }
}

/** What a container that no longer reads is sent is read away, as a pipe's writer would have it whose reader has enough. */
function inputOf(parts: OutputParts, id: ContainerId, channel: FrameChannel, runs: () => Promise<unknown>): InputSink {
  let opened: Promise<ContainerInput> | undefined;
  const reading = async (work: (input: ContainerInput) => Promise<void>): Promise<void> => {
    await runs();
    opened ??= parts.runtime.stdin(id);
    await opened.then(work).catch((error: unknown) => {
      if (asCcError(error).code !== "NOT_RUNNING") throw error;
    });
  };
  return {
    write: (data) => reading((input) => input.write(data)),
    end: async () => {
      await reading((input) => input.end());
      // From here on nothing of it can be lost with this stream.
      await channel.send(encodeJsonFrame(Channel.event, { type: "input-ended" }));
    },
  };
}
