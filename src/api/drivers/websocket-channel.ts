import type { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { asCcError, CcError, freeBuffer } from "../../base/index.ts";
import type { FrameChannel } from "../streams.ts";
import { acceptKey, createFrameParser, encodeFrame, Opcode } from "../websocket.ts";
import { REQUEST_BYTES_MAX } from "./requests.ts";

/** Above this many unsent bytes a sender waits, below the lower mark it goes on. */
const SEND_HIGH_BYTES = 1024 * 1024;
const SEND_LOW_BYTES = 256 * 1024;
/** Frames that wait for their reader: beyond this the socket is paused, so that TCP slows the sender. */
const RECEIVE_FRAMES_MAX = 16;
/** How long the other side may take to answer a close. */
const CLOSE_MS = 10_000;
const CloseCode = { normal: 1000, protocolError: 1002 } as const;

/** Agrees to be a WebSocket's server. Throws BAD_REQUEST. */
export function acceptUpgrade(request: IncomingMessage, socket: Duplex): void {
  const { upgrade, "sec-websocket-key": key, "sec-websocket-version": version } = request.headers;
  if (request.method !== "GET" || upgrade?.toLowerCase() !== "websocket" || version !== "13" || key === undefined || !/^[+/\w]{22}==$/.test(key))
    throw new CcError("BAD_REQUEST", "streams are WebSockets of version 13, and this is no such upgrade");
  if (socket instanceof Socket) socket.setTimeout(0).setNoDelay(true);
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptKey(key)}\r\n\r\n`);
}

/** The server's side of a WebSocket as a frame channel, with back-pressure in both directions. `head`: what came right behind the upgrade. */
export function websocketChannel(socket: Duplex, head: Uint8Array): FrameChannel {
  const parser = createFrameParser("client", REQUEST_BYTES_MAX + 1);
  const waiting: Uint8Array[] = [];
  /** Nothing more is sent, and what comes is thrown away. */
  let ending = false;
  let closed = false;
  let failure: CcError | undefined;
  let wake: (() => void) | undefined;
  let closeTimer: NodeJS.Timeout | undefined;
  let unsentBytes = 0;
  const senders: (() => void)[] = [];

  const goOn = (): void => {
    for (const resolve of senders.splice(0)) resolve();
  };
  const finish = (error?: CcError): void => {
    closed = true;
    failure ??= error;
    wake?.();
    goOn();
  };
  const write = (opcode: number, ...parts: readonly Uint8Array[]): void => {
    const frame = encodeFrame("server", opcode, ...parts);
    const { length } = frame;
    unsentBytes += length;
    socket.write(frame, () => {
      freeBuffer(frame);
      unsentBytes -= length;
      if (unsentBytes <= SEND_LOW_BYTES) goOn();
    });
  };
  /** Says that it is over. `answered`: the other side has said so already, or cannot be asked to. */
  const close = (code: number, answered: boolean): void => {
    if (!ending && socket.writable) write(Opcode.close, Buffer.from([code >> 8, code & 0xff]));
    ending = true;
    if (answered) socket.end();
    socket.resume();
    closeTimer ??= setTimeout(() => socket.destroy(), CLOSE_MS);
  };
  const take = (opcode: number, payload: Uint8Array): void => {
    if (opcode === Opcode.close) return close(CloseCode.normal, true);
    if (ending) return;
    // Who sends pings and reads no answers gets none.
    if (opcode === Opcode.ping && unsentBytes <= SEND_HIGH_BYTES) write(Opcode.pong, payload);
    if (opcode === Opcode.text) throw new CcError("BAD_REQUEST", "frames are binary messages");
    if (opcode !== Opcode.binary) return;
    waiting.push(payload);
    if (waiting.length >= RECEIVE_FRAMES_MAX) socket.pause();
    wake?.();
  };
  const onBytes = (bytes: Uint8Array): void => {
    try {
      for (const { opcode, payload } of parser.push(bytes)) take(opcode, payload);
    } catch (error) {
      socket.off("data", onChunk);
      finish(asCcError(error));
      close(CloseCode.protocolError, true);
    }
  };
  const onChunk = (chunk: Uint8Array): void => {
    onBytes(chunk);
    freeBuffer(chunk);
  };

  async function* frames(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = waiting.shift();
      if (frame !== undefined) {
        if (waiting.length < RECEIVE_FRAMES_MAX / 2 && socket.isPaused()) socket.resume();
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

  socket.on("close", () => {
    clearTimeout(closeTimer);
    finish();
  });
  socket.on("error", (error: Error) => finish(new CcError("CANCELLED", "the stream's connection was lost", { cause: error })));
  socket.on("end", () => socket.end());
  onBytes(head);
  if (!closed) socket.on("data", onChunk);

  return {
    async send(...parts) {
      if (closed || ending || !socket.writable) throw new CcError("CANCELLED", "the other side closed the stream");
      write(Opcode.binary, ...parts);
      if (unsentBytes > SEND_HIGH_BYTES) await new Promise<void>((resolve) => void senders.push(resolve));
    },
    frames,
    end: async () => {
      if (!closed) close(CloseCode.normal, false);
    },
    abort: (reason) => {
      finish(asCcError(reason));
      socket.destroy();
    },
  };
}
