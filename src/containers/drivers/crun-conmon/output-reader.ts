import { type FileHandle, open } from "node:fs/promises";
import { errorCode } from "../../../host/index.ts";
import { endOf, type Segment } from "../../log-history.ts";
import { type LogLine, LogLineReader } from "../../log-lines.ts";
import type { OutputChunk, ReadLogs } from "../../runtime.ts";
import type { Bell } from "./exit-watch.ts";
import type { OutputHistory } from "./output-history.ts";

/** A quiet container is read in small steps, a busy one in large. */
const READ_BYTES_MIN = 16 * 1024;
const READ_BYTES_MAX = 256 * 1024;
/** A chunk fits one frame of a stream to the user (64 KiB with its head). */
const CHUNK_BYTES_MAX = 63 * 1024;
/** A change that no watch has shown (a queue that ran over) is seen by looking again. */
const LOOK_AGAIN_MS = 1_000;

export type ReaderWaits = {
  /** Whether the container's last byte is written: its exit is known, or it never runs again. */
  hasEnded(): Promise<boolean>;
  /** Rings with the container's exit. */
  armExit(): Bell;
  /** Resolves when one rings, after `ms`, or with the signal. */
  wait(bells: readonly Bell[], ms: number, signal: AbortSignal): Promise<void>;
};

/** Output from `options.from` on. At most one read ahead of who pulls. */
export async function* readOutput(history: OutputHistory, options: ReadLogs, waits: ReaderWaits): AsyncGenerator<OutputChunk> {
  const lines = new LogLineReader();
  let segments = await history.refresh();
  let position = Math.max(options.from, history.oldest);
  let lost = options.from > 0 ? position - options.from : 0;
  if (options.tail !== undefined) position = Math.max(position, await tailPosition(history, segments, options.tail));
  let readBytes = READ_BYTES_MIN;
  yield { stream: "stdout", atMs: 0, data: new Uint8Array(), position, ...(lost > 0 ? { lostBytes: lost } : {}) };
  lost = 0;
  let file: { readonly base: number; readonly handle: FileHandle } | undefined;
  try {
    while (!options.signal.aborted) {
      if (position < history.oldest) {
        lost += history.oldest - position;
        position = history.oldest;
      }
      const bells = [history.arm(), waits.armExit()];
      try {
        // Looked at before the read: what was written before the end is then read.
        const ended = await waits.hasEnded();
        const at = segments.findLast((segment) => segment.base <= position);
        if (at !== undefined && file?.base !== at.base) {
          await file?.handle.close();
          file = undefined;
          const handle = await open(history.path(at.base), "r").catch(absent);
          file = handle === undefined ? undefined : { base: at.base, handle };
        }
        // A fresh one each time: chunks are views into it.
        const buffer = Buffer.allocUnsafeSlow(readBytes);
        const bytesRead = file === undefined ? 0 : (await file.handle.read(buffer, 0, readBytes, position - file.base)).bytesRead;
        readBytes = bytesRead === readBytes ? Math.min(READ_BYTES_MAX, readBytes * 4) : READ_BYTES_MIN;
        // Cut away while it was read: these bytes may be a hole.
        if (position < history.oldest) continue;
        const taken = takeLines(lines, buffer.subarray(0, bytesRead), position, options.sinceMs ?? 0);
        for (const chunk of taken.chunks) {
          yield lost > 0 ? { ...chunk, lostBytes: lost } : chunk;
          lost = 0;
          if (options.signal.aborted) return;
        }
        if (taken.position > position) {
          position = taken.position;
          continue;
        }
        segments = await history.refresh();
        const base = file?.base;
        const next = base === undefined ? segments.find((segment) => segment.base >= position) : segments.find((segment) => segment.base > base);
        if (next !== undefined && next.base !== base) {
          // A line that was cut off (power cut) stays behind in the file before.
          position = Math.max(position, next.base);
          continue;
        }
        if (endOf(segments) > position + bytesRead) continue;
        if (ended || !options.follow) return;
        await waits.wait(bells, LOOK_AGAIN_MS, options.signal);
      } finally {
        for (const bell of bells) bell.cancel();
      }
    }
  } finally {
    await file?.handle.close();
  }
}

/** Lines of one stream and one millisecond go together: a chunk per line would drown its reader in frames. */
export function takeLines(
  reader: LogLineReader,
  bytes: Buffer,
  from: number,
  sinceMs: number,
): { readonly chunks: readonly OutputChunk[]; readonly position: number } {
  const chunks: OutputChunk[] = [];
  let at = 0;
  let group: LogLine[] = [];
  let groupBytes = 0;
  let groupEnd = 0;
  const flush = (): void => {
    const first = group[0];
    if (first !== undefined) chunks.push({ stream: first.stream, atMs: first.atMs, data: joined(group), position: from + groupEnd });
    group = [];
    groupBytes = 0;
  };
  for (;;) {
    const next = reader.next(bytes, at);
    if (next === undefined) break;
    at = next.end;
    const { line } = next;
    if (line === undefined || line.data.length === 0 || line.atMs < sinceMs) continue;
    const first = group[0];
    if (first !== undefined && (first.stream !== line.stream || first.atMs !== line.atMs || groupBytes + line.data.length > CHUNK_BYTES_MAX)) flush();
    group.push(line);
    groupBytes += line.data.length;
    groupEnd = at;
  }
  flush();
  return { chunks, position: from + at };
}

function joined(lines: readonly LogLine[]): Uint8Array {
  const only = lines[0];
  return only !== undefined && lines.length === 1 ? only.data : Buffer.concat(lines.map((line) => line.data));
}

/** Where the last `count` lines begin: read backwards, a block at a time. */
async function tailPosition(history: OutputHistory, segments: readonly Segment[], count: number): Promise<number> {
  const end = endOf(segments);
  if (count <= 0) return end;
  const lines = new LogLineReader();
  let found = 0;
  let unfinished = true;
  for (const segment of segments.toReversed()) {
    const low = Math.max(segment.base, history.oldest);
    let high = segment.base + segment.sizeBytes;
    if (high <= low) continue;
    const file = await open(history.path(segment.base), "r").catch(absent);
    if (file === undefined) return high;
    try {
      while (high > low) {
        const from = Math.max(low, high - READ_BYTES_MAX);
        const { buffer, bytesRead } = await file.read(Buffer.allocUnsafeSlow(high - from), 0, high - from, from - segment.base);
        const block = buffer.subarray(0, bytesRead);
        // A block that begins in the middle of a line leaves that to the block before it.
        const begin = from === low ? 0 : block.indexOf(0x0a) + 1;
        if (from !== low && (begin === 0 || from + begin >= high)) return high;
        const ends = fullLineEnds(lines, block, begin);
        for (const { end: lineEnd, full } of ends.toReversed()) {
          // Output behind the last line end is a line too.
          if (unfinished && !full && found === 0) found = 1;
          unfinished = false;
          if (!full) continue;
          if (found === count) return from + lineEnd;
          found += 1;
        }
        high = from + begin;
        if (from === low) break;
      }
    } finally {
      await file.close();
    }
  }
  return history.oldest;
}

function fullLineEnds(reader: LogLineReader, block: Buffer, begin: number): readonly { readonly end: number; readonly full: boolean }[] {
  const ends: { end: number; full: boolean }[] = [];
  for (let at = begin; ; ) {
    const next = reader.next(block, at);
    if (next === undefined) return ends;
    at = next.end;
    if (next.line !== undefined) ends.push({ end: at, full: next.line.full });
  }
}

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}
