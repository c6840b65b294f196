import type { Stream, StreamMessageEvent } from "@libp2p/interface";
import { CcError, type PeerId } from "../../base/index.ts";
import { createFrameCutter, withLength } from "../frame-cutter.ts";
import { OPENING_BYTES_MAX, STREAM_FRAME_BYTES_MAX, STREAM_QUEUE_HIGH_BYTES, STREAM_QUEUE_LOW_BYTES, WINDOW_BYTES_MAX } from "../limits.ts";
import type { FrameStream } from "../mesh.ts";
import { sendDrained } from "./drained-send.ts";

/** How long the last bytes may take to leave, and the other side to half-close after this side has. */
const CLOSE_MS = 10_000;
const LENGTH_BYTES = 4;

/**
 * Frames on a libp2p stream. At rest it holds at most the high mark of unread frames, then one yamux window (1 MiB) in
 * the stream itself; after that the other side's `send` waits. `for await` over the stream would queue without bound.
 */
export class Libp2pFrameStream implements FrameStream {
  readonly peer: PeerId;
  readonly #stream: Stream;
  readonly #cutter;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #remoteEnded = false;
  #discarding = false;
  #outcome: "open" | "ended" | CcError = "open";
  #wake: (() => void) | undefined;
  #sending: Promise<void> = Promise.resolve();
  readonly #answered: () => void;
  #unprovenBytes = 0;
  #resuming = false;

  /** `inbound`: the first frame is the opening, with its own limit. `answered` is told of each proof of a round trip. */
  constructor(peer: PeerId, stream: Stream, inbound: boolean, answered: () => void) {
    this.peer = peer;
    this.#stream = stream;
    // Room again means that the other side read: as good as the answer to a probe.
    stream.addEventListener("drain", answered);
    this.#answered = answered;
    this.#cutter = createFrameCutter({ firstBytesMax: inbound ? OPENING_BYTES_MAX : STREAM_FRAME_BYTES_MAX, bytesMax: STREAM_FRAME_BYTES_MAX });
    stream.addEventListener("remoteCloseWrite", () => {
      this.#remoteEnded = true;
    });
    // 'end' also comes when the connection closed under the stream: that is no end of the other side's making.
    stream.addEventListener("end", () => this.#finish(this.#remoteEnded && !this.#cutter.midway() ? "ended" : this.#broken()));
    stream.addEventListener("close", (event) => {
      if (event.error !== undefined || !this.#remoteEnded) this.#finish(this.#broken(event.error));
    });
    stream.addEventListener("message", (event) => this.#onMessage(event));
  }

  #broken(cause?: Error): CcError {
    return new CcError("PEER_UNREACHABLE", "the stream to the peer broke off", cause === undefined ? {} : { cause });
  }

  #finish(outcome: "ended" | CcError): void {
    if (this.#outcome !== "open") return;
    this.#outcome = outcome;
    this.#wake?.();
  }

  #onMessage(event: StreamMessageEvent): void {
    this.#unprovenBytes += event.data.byteLength;
    if (this.#unprovenBytes > WINDOW_BYTES_MAX) {
      // More than a window came: the other side must have got this side's window updates.
      this.#unprovenBytes = 0;
      this.#answered();
    }
    if (this.#discarding) return;
    try {
      const chunks = event.data instanceof Uint8Array ? [event.data] : event.data;
      for (const chunk of chunks) {
        for (const frame of this.#cutter.push(chunk)) {
          this.#queue.push(frame);
          this.#queuedBytes += frame.length;
        }
      }
    } catch (error) {
      this.abort(error);
      return;
    }
    this.#pauseWhenFull();
    this.#wake?.();
  }

  #pauseWhenFull(): void {
    if (!this.#resuming && this.#queuedBytes > STREAM_QUEUE_HIGH_BYTES && this.#stream.readStatus === "readable") this.#stream.pause();
  }

  /**
   * The stream tells what it has held back before it lets the other side send again. To pause in the midst of that would be
   * undone at its end: the other side would send on into a paused stream until that is reset.
   */
  #resume(): void {
    this.#resuming = true;
    try {
      this.#stream.resume();
    } finally {
      this.#resuming = false;
    }
    this.#pauseWhenFull();
  }

  /** The next frame, or undefined at the end. One reader at a time. */
  async #next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const frame = this.#queue.shift();
      if (frame !== undefined) {
        this.#queuedBytes -= frame.length;
        if (this.#queuedBytes < STREAM_QUEUE_LOW_BYTES && this.#stream.readStatus === "paused") this.#resume();
        return frame;
      }
      if (this.#outcome === "ended") return undefined;
      if (this.#outcome !== "open") throw this.#outcome;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  async *frames(): AsyncIterable<Uint8Array> {
    for (;;) {
      const frame = await this.#next();
      if (frame === undefined) return;
      yield frame;
    }
  }

  /** The opening of an inbound stream. Throws TIMEOUT when it does not come. */
  async opening(timeoutMs: number): Promise<Uint8Array> {
    const timer = setTimeout(() => this.abort(new CcError("TIMEOUT", "the opening of a stream did not come")), timeoutMs);
    try {
      const first = await this.#next();
      if (first === undefined) throw new CcError("BAD_REQUEST", "a stream ended before its opening");
      return first;
    } finally {
      clearTimeout(timer);
    }
  }

  send(...parts: readonly Uint8Array[]): Promise<void> {
    const framed = withLength(...parts);
    if (framed.length > LENGTH_BYTES + STREAM_FRAME_BYTES_MAX)
      return Promise.reject(new CcError("TOO_LARGE", `a frame of ${framed.length - LENGTH_BYTES} bytes is above the limit of ${STREAM_FRAME_BYTES_MAX}`));
    return this.#sendFramed(framed);
  }

  /** The opening, which has a limit of its own. */
  sendOpening(opening: Uint8Array): Promise<void> {
    return this.#sendFramed(withLength(opening));
  }

  #sendFramed(framed: Uint8Array): Promise<void> {
    // One after another: with several at once, each would find room that the others are about to take.
    const sent = this.#sending.then(() => sendDrained(this.#stream, framed));
    this.#sending = sent.catch(() => undefined); // the sender has the error; the next one finds its own
    return sent;
  }

  async end(): Promise<void> {
    await this.#sending;
    try {
      await this.#stream.close({ signal: AbortSignal.timeout(CLOSE_MS) });
    } catch (error) {
      this.abort(error);
    }
  }

  abort(reason: unknown): void {
    const cause = reason instanceof Error ? reason : new Error(String(reason));
    this.#finish(cause instanceof CcError ? cause : new CcError("CANCELLED", "the stream was given up", { cause }));
    this.#discard();
    this.#stream.abort(cause);
  }

  /** Ends this side, then frees the stream: at the other side's end, or after 10 s without it. */
  async retire(): Promise<void> {
    await this.end();
    if (this.#stream.status !== "open" && this.#stream.status !== "closing") return;
    const timer = setTimeout(() => this.abort(new Error("the other side did not end its half")), CLOSE_MS);
    timer.unref();
    this.#stream.addEventListener("close", () => clearTimeout(timer));
    // What nobody will read is thrown away, or a paused stream would never see the other side's end.
    this.#discard();
    if (this.#stream.readStatus === "paused") this.#stream.resume();
  }

  #discard(): void {
    this.#discarding = true;
    this.#queue = [];
    this.#queuedBytes = 0;
  }
}
