import { CcError } from "../base/index.ts";

/** A small call on the light lane: number, name, protobuf bytes. */
export type LaneRequest = { readonly number: number; readonly name: string; readonly body: Uint8Array };
/** Its answer: protobuf bytes, or the JSON of a wire error. */
export type LaneReply = { readonly number: number; readonly ok: boolean; readonly body: Uint8Array };

const NAME_BYTES_MAX = 64;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeLaneRequest({ number, name, body }: LaneRequest): Uint8Array {
  const nameBytes = encoder.encode(name);
  if (nameBytes.length > NAME_BYTES_MAX) throw new RangeError(`the name of a call has at most ${NAME_BYTES_MAX} bytes`);
  const frame = new Uint8Array(5 + nameBytes.length + body.length);
  new DataView(frame.buffer).setUint32(0, number);
  frame[4] = nameBytes.length;
  frame.set(nameBytes, 5);
  frame.set(body, 5 + nameBytes.length);
  return frame;
}

/** Throws BAD_REQUEST for what is no request. */
export function decodeLaneRequest(frame: Uint8Array): LaneRequest {
  const nameLength = frame[4];
  if (nameLength === undefined || nameLength > NAME_BYTES_MAX || frame.length < 5 + nameLength)
    throw new CcError("BAD_REQUEST", "a frame of the light lane is no request");
  const number = new DataView(frame.buffer, frame.byteOffset).getUint32(0);
  return { number, name: decoder.decode(frame.subarray(5, 5 + nameLength)), body: frame.subarray(5 + nameLength) };
}

export function encodeLaneReply({ number, ok, body }: LaneReply): Uint8Array {
  const frame = new Uint8Array(5 + body.length);
  new DataView(frame.buffer).setUint32(0, number);
  frame[4] = ok ? 1 : 0;
  frame.set(body, 5);
  return frame;
}

/** Throws BAD_REQUEST for what is no reply. */
export function decodeLaneReply(frame: Uint8Array): LaneReply {
  const ok = frame[4];
  if (ok === undefined || ok > 1) throw new CcError("BAD_REQUEST", "a frame of the light lane is no reply");
  return { number: new DataView(frame.buffer, frame.byteOffset).getUint32(0), ok: ok === 1, body: frame.subarray(5) };
}
