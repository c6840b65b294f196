import { createHash } from "node:crypto";
import { CcError } from "../base/index.ts";

/**
 * As much of RFC 6455 as `cc` and a peer need: binary messages, ping and pong, close, no extensions. By hand, because a
 * package costs a short-lived process a third of `node -e 0`, and makes garbage of every byte of a tunnel.
 */
export const Opcode = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

export type Side = "client" | "server";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FRAGMENTS_MAX = 4_096;
const CONTROL_BYTES_MAX = 125;
/** Opcode, length, mask. */
const HEAD_BYTES_MAX = 14;

/** What a server answers a client's key with. */
export function acceptKey(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/**
 * One frame with `parts` in it, put together in a buffer of its own, outside of Node's pool: it can be freed. A client must mask what it sends, so that no proxy on the
 * way takes its bytes for a request of another. Nothing on the way sees ours (TLS, or a socket of this machine): the
 * mask is zeros, which costs neither side a pass over every byte.
 */
export function encodeFrame(from: Side, opcode: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const maskBytes = from === "client" ? 4 : 0;
  const frame = Buffer.allocUnsafeSlow(2 + extra + maskBytes + length);
  frame[0] = 0x80 | opcode;
  frame[1] = (from === "client" ? 0x80 : 0) | (extra === 0 ? length : extra === 2 ? 126 : 127);
  if (extra === 2) frame.writeUInt16BE(length, 2);
  if (extra === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  let at = 2 + extra + maskBytes;
  frame.fill(0, 2 + extra, at);
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

export type Message = { readonly opcode: number; readonly payload: Uint8Array };

export type FrameParser = {
  /**
   * Gives the messages that are complete: whole binary or text messages, and control frames, each in a buffer of its own.
   * Keeps nothing of `chunk`. Throws BAD_REQUEST.
   */
  push(chunk: Uint8Array): Message[];
};

const broken = (what: string): CcError => new CcError("BAD_REQUEST", `the stream is broken: ${what}`);

/** For what `from` sends. A message may have `messageBytesMax`. */
export function createFrameParser(from: Side, messageBytesMax: number): FrameParser {
  const head = Buffer.alloc(HEAD_BYTES_MAX);
  let headFilled = 0;
  /** Of the frame that is under way, once its head is whole. */
  let payload: Buffer | undefined;
  let filled = 0;
  let fragments: Buffer[] = [];
  let fragmentsBytes = 0;
  let messageOpcode = 0;
  const maskBytes = from === "client" ? 4 : 0;

  /** How long the head is, as far as it is known yet. */
  const headBytes = (): number => {
    const short = (head[1] ?? 0) & 0x7f;
    return headFilled < 2 ? 2 : 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + maskBytes;
  };

  const check = (): void => {
    const [first = 0, second = 0] = head;
    if ((first & 0x70) !== 0) throw broken("reserved bits are set");
    if (((second & 0x80) !== 0) !== (from === "client")) throw broken(from === "client" ? "a frame without a mask" : "a masked frame");
    if ((first & 0x08) !== 0 && ((first & 0x80) === 0 || (second & 0x7f) > CONTROL_BYTES_MAX)) throw broken("a control frame that is too long");
  };

  const begin = (): Buffer => {
    const [, second = 0] = head;
    const short = second & 0x7f;
    const length = short < 126 ? short : short === 126 ? head.readUInt16BE(2) : Number(head.readBigUInt64BE(2));
    if (length > messageBytesMax) throw broken("a frame that is too long");
    return Buffer.allocUnsafeSlow(length);
  };

  const unmask = (bytes: Buffer): void => {
    const mask = head.subarray(headBytes() - maskBytes, headBytes());
    if (mask.every((byte) => byte === 0)) return;
    for (let at = 0; at < bytes.length; at += 1) bytes[at] = (bytes[at] ?? 0) ^ (mask[at & 3] ?? 0);
  };

  /** The frame is whole. */
  const finish = (bytes: Buffer): Message | undefined => {
    const [first = 0] = head;
    const final = (first & 0x80) !== 0;
    const opcode = first & 0x0f;
    if (opcode >= 0x8) return { opcode, payload: bytes };
    if ((opcode === Opcode.continuation) !== fragments.length > 0) throw broken("a fragment out of order");
    if (opcode !== Opcode.continuation) messageOpcode = opcode;
    if (final && fragments.length === 0) return { opcode: messageOpcode, payload: bytes };
    fragments.push(bytes);
    fragmentsBytes += bytes.length;
    if (fragmentsBytes > messageBytesMax || fragments.length > FRAGMENTS_MAX) throw broken("a message that is too long");
    if (!final) return undefined;
    const whole = Buffer.concat(fragments);
    fragments = [];
    fragmentsBytes = 0;
    return { opcode: messageOpcode, payload: whole };
  };

  return {
    push(chunk) {
      const messages: Message[] = [];
      for (let at = 0; at < chunk.length; ) {
        if (payload === undefined) {
          head[headFilled] = chunk[at] ?? 0;
          headFilled += 1;
          at += 1;
          if (headFilled === 2) check();
          if (headFilled < headBytes()) continue;
          payload = begin();
          filled = 0;
        } else {
          const part = chunk.subarray(at, at + payload.length - filled);
          payload.set(part, filled);
          filled += part.length;
          at += part.length;
        }
        if (filled < payload.length) continue;
        if (maskBytes > 0) unmask(payload);
        const message = finish(payload);
        if (message !== undefined) messages.push(message);
        payload = undefined;
        headFilled = 0;
      }
      return messages;
    },
  };
}
