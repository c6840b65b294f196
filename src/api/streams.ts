import { CcError, type ErrorCode } from "../base/index.ts";

/**
 * Frames of a byte stream, the same on the WebSocket to a user and on the libp2p stream between peers: one byte that
 * names the channel, then the payload. On the WebSocket a frame is one binary message; on a libp2p stream each frame
 * has its length before it (4 bytes, big endian, channel byte included).
 */
export const Channel = {
  // to the container
  stdin: 0x00,
  stdinEnd: 0x01,
  control: 0x02,
  // to the user
  stdout: 0x10,
  stderr: 0x11,
  event: 0x12,
  /** As stdout and stderr, after 8 bytes (a double, big endian) that say where in the container's output this frame ends. */
  stdoutAt: 0x13,
  stderrAt: 0x14,
  // the signed request, where it is too large for a header
  request: 0x20,
  // 0x30 to 0x3f are a tunnel's: src/tunnel/frames.ts
} as const;
export type Channel = (typeof Channel)[keyof typeof Channel];

/** A frame's largest payload; longer data is cut into several frames. */
export const FRAME_BYTES_MAX = 64 * 1024;
export const POSITION_BYTES = 8;
/** What a frame may have around its payload: the channel byte, and what a tunnel puts before its data. */
export const FRAME_HEAD_BYTES_MAX = 8;
/** A request in the upgrade's header, base64url: above this it travels as the first frame (Node's limit for all headers is 16 KiB). */
export const HEADER_REQUEST_BYTES_MAX = 8 * 1024;

/**
 * Exec's standard input: the user's side has at most so many bytes under way that the process's host has not said it took
 * (`took`). So nobody in between has to stop reading, and what stands behind the input still arrives.
 */
export const INPUT_WINDOW_BYTES = 1024 * 1024;

/** What the user's side may ask of the process; in a Push, the blob whose bytes come next. */
export type StreamControl = { readonly signal: string } | { readonly blob: string; readonly sizeBytes: number };

export type StreamEvent =
  | { readonly type: "explain"; readonly answers: readonly unknown[] }
  | {
      readonly type: "placed";
      readonly id: string;
      readonly host: string;
      readonly copies: number;
      readonly wrote: readonly unknown[];
      readonly warnings: readonly string[];
    }
  | { readonly type: "progress"; readonly text: string }
  | { readonly type: "started"; readonly id: string }
  /** The image is whole on the disks of so many hosts. */
  | { readonly type: "pushed"; readonly reference: string; readonly digest: string; readonly copies: number }
  | { readonly type: "warning"; readonly text: string }
  /** So much more of the input was taken. */
  | { readonly type: "took"; readonly bytes: number }
  /** So many bytes of the log were rotated away before they could be sent. */
  | { readonly type: "lost"; readonly bytes: number }
  /** All input up to its end is with the process. */
  | { readonly type: "input-ended" }
  /** Of a tunnel: whether the container runs, at first and whenever that changes. */
  | { readonly type: "standing"; readonly running: boolean; readonly text: string }
  /** Last frame of a stream that ended well. `exitCode` is missing for logs. */
  | { readonly type: "end"; readonly exitCode?: number; readonly reason?: string }
  /** Last frame of a stream that failed. */
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string; readonly details?: Readonly<Record<string, string>> };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeFrame(channel: Channel, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(payload.length + 1);
  frame[0] = channel;
  frame.set(payload, 1);
  return frame;
}

export function encodeJsonFrame(channel: Channel, value: StreamEvent | StreamControl): Uint8Array {
  return encodeFrame(channel, encoder.encode(JSON.stringify(value)));
}

/** `position`: where in the whole output the last of `data` lies. */
export function encodeOutputFrame(stream: "stdout" | "stderr", position: number, data: Uint8Array): Uint8Array {
  const payload = new Uint8Array(POSITION_BYTES + data.length);
  new DataView(payload.buffer).setFloat64(0, position);
  payload.set(data, POSITION_BYTES);
  return encodeFrame(stream === "stdout" ? Channel.stdoutAt : Channel.stderrAt, payload);
}

/** Output of a frame, `position` undefined where it does not say; undefined for frames of other channels. Throws BAD_REQUEST. */
export function decodeOutput({
  channel,
  payload,
}: Frame): { readonly stream: "stdout" | "stderr"; readonly data: Uint8Array; readonly position?: number } | undefined {
  if (channel === Channel.stdout) return { stream: "stdout", data: payload };
  if (channel === Channel.stderr) return { stream: "stderr", data: payload };
  if (channel !== Channel.stdoutAt && channel !== Channel.stderrAt) return undefined;
  if (payload.length < POSITION_BYTES) throw new CcError("BAD_REQUEST", "an output frame without its position");
  const position = new DataView(payload.buffer, payload.byteOffset).getFloat64(0);
  return { stream: channel === Channel.stdoutAt ? "stdout" : "stderr", data: payload.subarray(POSITION_BYTES), position };
}

export type Frame = { readonly channel: number; readonly payload: Uint8Array };

/** Throws BAD_REQUEST for an empty or over-long frame. Unknown channels are given back: the caller ignores them. */
export function decodeFrame(bytes: Uint8Array, payloadBytesMax = FRAME_BYTES_MAX): Frame {
  const channel = bytes[0];
  if (channel === undefined || bytes.length > payloadBytesMax + 1)
    throw new CcError("BAD_REQUEST", `a frame of ${bytes.length} bytes is not one of this stream's`);
  return { channel, payload: bytes.subarray(1) };
}

/** The JSON object of an event or control frame. Throws BAD_REQUEST for anything else. */
export function decodeJson(payload: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(decoder.decode(payload));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  } catch (error) {
    throw new CcError("BAD_REQUEST", "a control frame is not JSON", { cause: error });
  }
  throw new CcError("BAD_REQUEST", "a control frame is not a JSON object");
}

/** One byte stream as a handler sees it, whether a WebSocket or a libp2p stream carries it. Bounded both ways. */
export interface FrameChannel {
  /**
   * One frame, given in parts, which are the caller's again at once. Resolves when there is room for the next. Throws CANCELLED
   * when the other side is gone.
   */
  send(...parts: readonly Uint8Array[]): Promise<void>;
  /** The other side's frames; ends when it has no more. Nobody else knows their bytes: who has them may free them. */
  frames(): AsyncIterable<Uint8Array>;
  end(): Promise<void>;
  abort(reason: unknown): void;
}
