import { StringDecoder } from "node:string_decoder";
import type { StreamHandle, StreamSink } from "../src/api/client-stream.ts";
import type { StreamEvent } from "../src/api/streams.ts";
import { plainText } from "./terminal.ts";

/** How much of each of stdout and stderr `--json` gathers. */
const GATHERED_BYTES_MAX = 16 * 1024 * 1024;

type Hooks = {
  readonly warn: (text: string) => void;
  readonly onEvent?: (event: StreamEvent) => void;
  readonly onCommitted?: (handle: StreamHandle) => void;
};

function warnOf(event: StreamEvent, warn: ((text: string) => void) | undefined): void {
  if (event.type === "warning") warn?.(String(event.text));
  if (event.type === "lost") warn?.(`${event.bytes} bytes of the log were rotated away before they could be shown; cc run --log-size keeps more`);
}

/** Passes a container's output on as it comes; a slow reader holds the stream back. Progress is for terminals only. */
export function createOutputSink(hooks: Hooks): { readonly sink: StreamSink; readonly clearProgress: () => void } {
  let handle: StreamHandle | undefined;
  let progressShown = false;
  let full = 0;
  const clearProgress = (): void => {
    if (progressShown) process.stderr.write("\r\u001b[K");
    progressShown = false;
  };
  const sink: StreamSink = {
    event(event) {
      if (event.type === "progress" && process.stderr.isTTY) {
        const columns = process.stderr.columns ?? 80;
        process.stderr.write(`\r\u001b[K${plainText(String(event.text)).slice(0, columns - 1)}`);
        progressShown = true;
      } else if (event.type !== "progress") clearProgress();
      warnOf(event, hooks.warn);
      hooks.onEvent?.(event);
    },
    output(channel, bytes) {
      clearProgress();
      const stream = channel === "stdout" ? process.stdout : process.stderr;
      if (stream.write(bytes)) return full === 0;
      full += 1;
      stream.once("drain", () => {
        full -= 1;
        if (full === 0) handle?.resume();
      });
      return false;
    },
    committed(opened) {
      handle = opened;
      hooks.onCommitted?.(opened);
    },
  };
  return { sink, clearProgress };
}

type Line = { readonly stream: "stdout" | "stderr"; readonly text: string };

/** Keeps the output for one JSON document, up to a bound a stream. */
export function createGatheringSink(hooks: Partial<Hooks> = {}): {
  readonly sink: StreamSink;
  readonly text: (channel: "stdout" | "stderr") => string;
  readonly lines: () => Line[];
  readonly truncated: () => boolean;
} {
  const sizes = { stdout: 0, stderr: 0 };
  const pieces: { channel: "stdout" | "stderr"; bytes: Uint8Array }[] = [];
  let cut = false;
  const sink: StreamSink = {
    event(event) {
      warnOf(event, hooks.warn);
      hooks.onEvent?.(event);
    },
    output(channel, bytes) {
      const room = GATHERED_BYTES_MAX - sizes[channel];
      if (bytes.length > room) cut = true;
      if (room > 0) {
        const kept = bytes.subarray(0, room);
        sizes[channel] += kept.length;
        // A copy: the piece would otherwise keep the whole packet that it came in.
        pieces.push({ channel, bytes: Uint8Array.from(kept) });
      }
      return true;
    },
    committed: (handle) => hooks.onCommitted?.(handle),
  };
  return {
    sink,
    text: (channel) => Buffer.concat(pieces.filter((piece) => piece.channel === channel).map((piece) => piece.bytes)).toString("utf8"),
    lines() {
      const open = { stdout: { decoder: new StringDecoder("utf8"), rest: "" }, stderr: { decoder: new StringDecoder("utf8"), rest: "" } };
      const lines: Line[] = [];
      for (const { channel, bytes } of pieces) {
        const state = open[channel];
        const parts = (state.rest + state.decoder.write(Buffer.from(bytes))).split("\n");
        state.rest = parts.pop() ?? "";
        for (const text of parts) lines.push({ stream: channel, text });
      }
      for (const stream of ["stdout", "stderr"] as const) {
        const rest = open[stream].rest + open[stream].decoder.end();
        if (rest !== "") lines.push({ stream, text: rest });
      }
      return lines;
    },
    truncated: () => cut,
  };
}
