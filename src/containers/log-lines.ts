/**
 * Lines of conmon's k8s-file log: `2024-01-01T00:00:00.000000000+00:00 stdout F text`. F ends a line of the
 * container's output, P is a part of one without an end yet (at most 8 KiB in conmon).
 */
export type LogLine = {
  readonly stream: "stdout" | "stderr";
  readonly atMs: number;
  readonly full: boolean;
  /** What the container wrote; with its line end when full. A view into the input. */
  readonly data: Uint8Array;
};

const NEWLINE = 0x0a;
const SPACE = 0x20;
const FULL = 0x46;
const PART = 0x50;
/** Time, stream and tag; conmon's are 50 bytes. */
const HEAD_BYTES_MAX = 96;
/** conmon cuts at 8 KiB; a longer "line" is damage (a hole left by a power cut) and is passed over. */
const LOG_LINE_BYTES_MAX = 64 * 1024;

/** Reads lines from bytes that come in any cut, in bounded memory. */
export class LogLineReader {
  #lastSecond = "";
  #lastSecondMs = 0;

  /**
   * The line that begins at `from`, and where the next one begins. `line` is undefined for what is no line of the log.
   * Gives undefined when its end has not come yet.
   */
  next(bytes: Buffer, from: number): { readonly line: LogLine | undefined; readonly end: number } | undefined {
    const at = bytes.indexOf(NEWLINE, from);
    if (at < 0) {
      return bytes.length - from > LOG_LINE_BYTES_MAX ? { line: undefined, end: bytes.length } : undefined;
    }
    return { line: this.#parse(bytes, from, at), end: at + 1 };
  }

  #parse(bytes: Buffer, from: number, newlineAt: number): LogLine | undefined {
    const timeEnd = bytes.indexOf(SPACE, from);
    if (timeEnd < 0 || timeEnd > newlineAt || timeEnd - from > HEAD_BYTES_MAX) return undefined;
    // "stdout" and "stderr" have the same length.
    const tagAt = timeEnd + 8;
    const tag = bytes[tagAt];
    if (tagAt + 1 >= newlineAt + 1 || bytes[tagAt - 1] !== SPACE || (tag !== FULL && tag !== PART)) return undefined;
    const name = bytes.toString("latin1", timeEnd + 1, tagAt - 1);
    if (name !== "stdout" && name !== "stderr") return undefined;
    const atMs = this.#time(bytes.toString("latin1", from, timeEnd));
    if (atMs === undefined) return undefined;
    const dataAt = Math.min(tagAt + 2, newlineAt);
    return { stream: name, atMs, full: tag === FULL, data: bytes.subarray(dataAt, tag === FULL ? newlineAt + 1 : newlineAt) };
  }

  /** Whole seconds are parsed once: most lines share theirs with the one before. */
  #time(text: string): number | undefined {
    const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})\d{0,6}(Z|[+-]\d\d:\d\d)$/.exec(text);
    if (match === null) return undefined;
    const second = `${match[1]}${match[3]}`;
    if (second !== this.#lastSecond) {
      this.#lastSecond = second;
      this.#lastSecondMs = Date.parse(second);
    }
    return Number.isNaN(this.#lastSecondMs) ? undefined : this.#lastSecondMs + Number(match[2]);
  }
}
