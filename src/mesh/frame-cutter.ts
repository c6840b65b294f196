import { CcError } from "../base/index.ts";

/** The parts of a frame with their length before them: 4 bytes, big endian. */
export function withLength(...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const framed = Buffer.allocUnsafe(4 + length);
  framed.writeUInt32BE(length);
  let at = 4;
  for (const part of parts) {
    framed.set(part, at);
    at += part.length;
  }
  return framed;
}

export type FrameCutter = {
  /** Gives the frames that `chunk` completes. Throws TOO_LARGE at a length above the limit, before anything is allocated for it. */
  push(chunk: Uint8Array): Uint8Array[];
  /** Whether a frame has begun and not ended: a stream that ends so was cut off. */
  midway(): boolean;
};

/**
 * Cuts a byte stream into its length-prefixed frames. Holds at most one unfinished frame. `firstBytesMax` bounds the
 * first frame (the opening), `bytesMax` all later ones.
 */
export function createFrameCutter(limits: { readonly firstBytesMax: number; readonly bytesMax: number }): FrameCutter {
  const header = new Uint8Array(4);
  let headerFilled = 0;
  let body: Uint8Array | undefined;
  let bodyFilled = 0;
  let limit = limits.firstBytesMax;

  return {
    push(chunk) {
      const frames: Uint8Array[] = [];
      let at = 0;
      while (at < chunk.length) {
        if (body === undefined) {
          const take = Math.min(4 - headerFilled, chunk.length - at);
          header.set(chunk.subarray(at, at + take), headerFilled);
          headerFilled += take;
          at += take;
          if (headerFilled < 4) break;
          const length = new DataView(header.buffer).getUint32(0);
          if (length > limit) throw new CcError("TOO_LARGE", `a frame of ${length} bytes is above the limit of ${limit}`);
          body = new Uint8Array(length);
          bodyFilled = 0;
        }
        const take = Math.min(body.length - bodyFilled, chunk.length - at);
        body.set(chunk.subarray(at, at + take), bodyFilled);
        bodyFilled += take;
        at += take;
        if (bodyFilled < body.length) break;
        frames.push(body);
        body = undefined;
        headerFilled = 0;
        limit = limits.bytesMax;
      }
      return frames;
    },
    midway: () => headerFilled > 0,
  };
}
