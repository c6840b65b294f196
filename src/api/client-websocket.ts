import { CcError } from "../base/index.ts";

/**
 * The client's half of RFC 6455, as far as a peer needs it: binary messages, ping and pong, close, no extensions.
 * By hand, because a package costs a short-lived process a third of `node -e 0`.
 */
export const Opcode = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;

/** A frame's payload, and a message put together from several, may be this long. */
const MESSAGE_BYTES_MAX = 1024 * 1024;

/**
 * A client must mask what it sends, so that no proxy on the way takes its bytes for a request of another. Nothing on the way sees
 * ours (TLS, or a socket of this machine): the mask is zeros, which costs neither side a pass over every byte.
 */
export function encodeClientFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const length = payload.length;
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const frame = Buffer.allocUnsafe(2 + extra + 4 + length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127);
  if (extra === 2) frame.writeUInt16BE(length, 2);
  if (extra === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  frame.fill(0, 2 + extra, 2 + extra + 4);
  frame.set(payload, 2 + extra + 4);
  return frame;
}

export type Message = { readonly opcode: number; readonly payload: Uint8Array };

export type FrameParser = {
  /** Gives the messages that are complete: whole binary or text messages, and control frames. Throws BAD_REQUEST. */
  push(chunk: Uint8Array): Message[];
};

const broken = (what: string): CcError => new CcError("BAD_REQUEST", `the peer's stream is broken: ${what}`);

export function createFrameParser(): FrameParser {
  let chunks: Uint8Array[] = [];
  let size = 0;
  /** Before so many bytes are here, there is nothing to look at: a long frame comes in many packets, and is put together once. */
  let needed = 2;
  let parts: Buffer[] = [];
  let partsBytes = 0;
  let partsOpcode = 0;

  const accept = (final: boolean, opcode: number, payload: Buffer, messages: Message[]): void => {
    if (opcode >= 0x8) {
      if (!final || payload.length > 125) throw broken("a control frame that is too long");
      messages.push({ opcode, payload });
      return;
    }
    if ((opcode === Opcode.continuation) !== parts.length > 0) throw broken("a fragment out of order");
    if (opcode !== Opcode.continuation) partsOpcode = opcode;
    if (final && parts.length === 0) {
      messages.push({ opcode: partsOpcode, payload });
      return;
    }
    parts.push(payload);
    partsBytes += payload.length;
    if (partsBytes > MESSAGE_BYTES_MAX || parts.length > 4096) throw broken("a message that is too long");
    if (!final) return;
    messages.push({ opcode: partsOpcode, payload: Buffer.concat(parts) });
    parts = [];
    partsBytes = 0;
  };

  return {
    push(chunk) {
      chunks.push(chunk);
      size += chunk.length;
      const messages: Message[] = [];
      if (size < needed) return messages;
      const [only] = chunks;
      const pending = chunks.length === 1 && only !== undefined ? Buffer.from(only.buffer, only.byteOffset, only.length) : Buffer.concat(chunks);
      let at = 0;
      for (;;) {
        const first = pending[at];
        const second = pending[at + 1];
        needed = 2;
        if (first === undefined || second === undefined) break;
        if ((first & 0x70) !== 0) throw broken("reserved bits are set");
        if ((second & 0x80) !== 0) throw broken("a masked frame");
        const short = second & 0x7f;
        const extra = short === 126 ? 2 : short === 127 ? 8 : 0;
        needed = 2 + extra;
        if (pending.length < at + needed) break;
        const length = extra === 0 ? short : extra === 2 ? pending.readUInt16BE(at + 2) : Number(pending.readBigUInt64BE(at + 2));
        if (length > MESSAGE_BYTES_MAX) throw broken("a frame that is too long");
        const start = at + 2 + extra;
        needed = 2 + extra + length;
        if (pending.length < at + needed) break;
        accept((first & 0x80) !== 0, first & 0x0f, pending.subarray(start, start + length), messages);
        at = start + length;
      }
      chunks = at < pending.length ? [pending.subarray(at)] : [];
      size = pending.length - at;
      return messages;
    },
  };
}
