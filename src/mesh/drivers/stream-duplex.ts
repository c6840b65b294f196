import { Duplex } from "node:stream";
import type { Stream, StreamMessageEvent } from "@libp2p/interface";
import { sendDrained } from "./drained-send.ts";

const WATER_MARK_BYTES = 256 * 1024;

/**
 * A libp2p stream as a Node Duplex, for an HTTP/2 session to run on. Bounded both ways: the ready-made
 * `messageStreamToDuplex` queues without bound when the reader is slow, so reading is by `message` events with pause
 * and resume, and writing waits for the `drain` event.
 */
export class StreamDuplex extends Duplex {
  readonly #stream: Stream;
  #remoteEnded = false;

  constructor(stream: Stream) {
    super({ readableHighWaterMark: WATER_MARK_BYTES, writableHighWaterMark: WATER_MARK_BYTES });
    this.#stream = stream;
    // A session learns of its death by 'close'; an 'error' that nobody listens to would end the process.
    this.on("error", () => undefined);
    stream.addEventListener("remoteCloseWrite", () => {
      this.#remoteEnded = true;
    });
    stream.addEventListener("end", () => {
      // 'end' also comes when the connection closed under the stream: only a half-close of the other side ends it well.
      if (this.#remoteEnded) this.push(null);
    });
    stream.addEventListener("close", (event) => {
      this.destroy(event.error ?? (this.#remoteEnded ? undefined : new Error("the connection closed")));
    });
    stream.addEventListener("message", (event) => this.#onMessage(event));
  }

  #onMessage(event: StreamMessageEvent): void {
    let room = true;
    if (event.data instanceof Uint8Array) room = this.push(event.data);
    else for (const chunk of event.data) room = this.push(chunk);
    if (!room && this.#stream.readStatus === "readable") this.#stream.pause();
  }

  override _read(): void {
    if (this.#stream.readStatus === "paused") this.#stream.resume();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    sendDrained(this.#stream, chunk).then(() => done(), done);
  }

  /** An HTTP/2 session writes headers, data and trailers one by one: together they are one frame, one encryption, one packet. */
  override _writev(chunks: { chunk: Uint8Array; encoding: BufferEncoding }[], done: (error?: Error | null) => void): void {
    sendDrained(this.#stream, Buffer.concat(chunks.map(({ chunk }) => chunk))).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream.close({ signal: AbortSignal.timeout(5_000) }).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#stream.status === "open") this.#stream.abort(error ?? new Error("closed"));
    done(error);
  }
}
