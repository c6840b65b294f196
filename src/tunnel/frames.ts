import { CcError } from "../base/index.ts";

/**
 * Frames of a tunnel, beside the events of src/api/streams.ts on the same stream: the channel byte says what the frame is,
 * then the connection's number (4 bytes, big endian), then what belongs to it. The user's side numbers and opens connections.
 */
const TunnelChannel = { open: 0x30, opened: 0x31, data: 0x32, end: 0x33, reset: 0x34, credit: 0x35 } as const;

/** Data of one frame: what one read of a socket gives at most. */
export const DATA_BYTES_MAX = 64 * 1024;
const HEAD_BYTES = 5;
/** More than any window: a peer that promises this is broken. */
export const CREDIT_BYTES_MAX = 1024 ** 3;

/** Why a connection ended before its time. Numbers on the wire; what is not known is `broken`. */
const RESET_REASONS = ["broken", "refused", "not-running", "no-room", "failed"] as const;
export type ResetReason = (typeof RESET_REASONS)[number];

export type TunnelFrame =
  /** A connection to the container's port, please. Data may follow at once, as far as the first window goes. */
  | { readonly kind: "open"; readonly connection: number }
  /** The container's port answered. */
  | { readonly kind: "opened"; readonly connection: number }
  | { readonly kind: "data"; readonly connection: number; readonly data: Uint8Array }
  /** No more data from this side; the other may go on. */
  | { readonly kind: "end"; readonly connection: number }
  /** Over at once, both ways. */
  | { readonly kind: "reset"; readonly connection: number; readonly reason: ResetReason }
  /** So many bytes more may be sent. */
  | { readonly kind: "credit"; readonly connection: number; readonly bytes: number };

const BARE = { [TunnelChannel.open]: "open", [TunnelChannel.opened]: "opened", [TunnelChannel.end]: "end" } as const;
const CHANNELS: readonly number[] = Object.values(TunnelChannel);

export function isTunnelFrame(bytes: Uint8Array): boolean {
  return CHANNELS.includes(bytes[0] ?? -1);
}

/** In parts, so that data is copied once, by what carries it. */
export function encodeTunnelFrame(frame: TunnelFrame): readonly Uint8Array[] {
  const body = frame.kind === "reset" ? 1 : frame.kind === "credit" ? 4 : 0;
  const head = Buffer.allocUnsafe(HEAD_BYTES + body);
  head[0] = TunnelChannel[frame.kind];
  head.writeUInt32BE(frame.connection, 1);
  if (frame.kind === "reset") head[HEAD_BYTES] = RESET_REASONS.indexOf(frame.reason);
  if (frame.kind === "credit") head.writeUInt32BE(frame.bytes, HEAD_BYTES);
  return frame.kind === "data" ? [head, frame.data] : [head];
}

/** Throws BAD_REQUEST for what is no tunnel frame. The data is a view of `bytes`. */
export function decodeTunnelFrame(bytes: Uint8Array): TunnelFrame {
  if (bytes.length < HEAD_BYTES) throw broken(`${bytes.length} bytes`);
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const connection = view.readUInt32BE(1);
  const body = bytes.length - HEAD_BYTES;
  switch (bytes[0]) {
    case TunnelChannel.data:
      if (body === 0 || body > DATA_BYTES_MAX) throw broken(`${body} bytes of data`);
      return { kind: "data", connection, data: bytes.subarray(HEAD_BYTES) };
    case TunnelChannel.open:
    case TunnelChannel.opened:
    case TunnelChannel.end:
      if (body !== 0) throw broken(`${body} bytes too many`);
      return { kind: BARE[bytes[0]], connection };
    case TunnelChannel.reset:
      if (body !== 1) throw broken("a reset without its reason");
      return { kind: "reset", connection, reason: RESET_REASONS[view[HEAD_BYTES] ?? 0] ?? "broken" };
    case TunnelChannel.credit: {
      const credit = body === 4 ? view.readUInt32BE(HEAD_BYTES) : 0;
      if (credit === 0 || credit > CREDIT_BYTES_MAX) throw broken("an impossible credit");
      return { kind: "credit", connection, bytes: credit };
    }
    default:
      throw broken(`channel ${bytes[0]}`);
  }
}

function broken(what: string): CcError {
  return new CcError("BAD_REQUEST", `the tunnel's other side does not keep its rules (${what})`);
}
