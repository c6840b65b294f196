import { CcError, type Clock, type ErrorCode, isErrorCode, type Random } from "../base/index.ts";
import { type ChannelOpening, ConnectionLost, openClientChannel } from "./client-channel.ts";
import type { Connection } from "./client-connection.ts";
import { stringDetails } from "./client-http.ts";
import { Channel, decodeFrame, decodeJson, decodeOutput, encodeFrame, encodeJsonFrame, FRAME_BYTES_MAX, type StreamEvent } from "./streams.ts";

/** With these a stream breaks that has got as far as the container: its peer stops, or lost the container's host. Before that they are refusals. */
const BREAKING_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["PEER_UNREACHABLE", "HOST_UNREACHABLE", "STARTING"]);
const SHOWN: ReadonlySet<string> = new Set<StreamEvent["type"]>(["explain", "placed", "progress", "started", "warning", "lost", "input-ended", "pushed"]);

/** What the user's side may do while a stream is open. */
export type StreamHandle = {
  /** Sends input; resolves when there is room for more. */
  input(bytes: Uint8Array): Promise<void>;
  inputEnd(): void;
  signal(name: string): void;
  /** Announces the blob whose bytes come next. */
  blob(digest: string, sizeBytes: number): void;
  /** The sink has room again. */
  resume(): void;
  /** Ends the stream from this side; what runs goes on. */
  detach(): void;
};

export type StreamSink = {
  event(event: StreamEvent): void;
  /** Gives false when no more should come before `resume()`. `position`: where in the whole output these bytes end, where the peer says so. */
  output(channel: "stdout" | "stderr", bytes: Uint8Array, position?: number): boolean;
  /** From now on the request took effect: it is never sent again, and input may be sent. */
  committed(handle: StreamHandle): void;
};

export type StreamEnd = { readonly exitCode?: number; readonly reason?: string; readonly detached?: boolean };

export type StreamCallMade = ChannelOpening & {
  readonly commitsOnUpgrade: boolean;
  /** So much input may be under way that was not taken yet; undefined: as much as the connection takes. */
  readonly inputWindowBytes?: number | undefined;
};

/** The refusal in an error event. */
export function errorOfEvent(event: Readonly<Record<string, unknown>>): CcError {
  const code: ErrorCode = typeof event["code"] === "string" && isErrorCode(event["code"]) ? event["code"] : "INTERNAL";
  return new CcError(code, String(event["message"] ?? "the peer gave no reason"), { details: stringDetails(event["details"]) });
}

/**
 * One WebSocket call from the upgrade to its last frame. `commitsOnUpgrade` is for calls that only read: they have
 * taken effect once the peer agreed. Throws the peer's refusal as CcError, ConnectionLost otherwise.
 */
export function runStream(
  parts: { readonly clock: Clock; readonly random: Pick<Random, "bytes"> },
  connection: Connection,
  call: StreamCallMade,
  sink: StreamSink,
): Promise<StreamEnd> {
  return new Promise((resolve, reject) => {
    let committed = false;
    let begun = false;
    let over = false;
    let window = call.inputWindowBytes ?? Number.POSITIVE_INFINITY;
    let widened: (() => void) | undefined;
    const settle = (finish: () => void): void => {
      if (over) return;
      over = true;
      widened?.();
      channel.close();
      finish();
    };

    const handle: StreamHandle = {
      async input(bytes) {
        for (let at = 0; at < bytes.length && !over; ) {
          if (window <= 0) {
            await new Promise<void>((resolve) => {
              widened = resolve;
            });
            continue;
          }
          const part = bytes.subarray(at, at + Math.min(FRAME_BYTES_MAX, window));
          at += part.length;
          window -= part.length;
          if (!channel.send(encodeFrame(Channel.stdin, part))) await channel.drained();
        }
      },
      inputEnd: () => void channel.send(encodeFrame(Channel.stdinEnd, new Uint8Array())),
      signal: (name) => void channel.send(encodeJsonFrame(Channel.control, { signal: name })),
      blob: (digest, sizeBytes) => void channel.send(encodeJsonFrame(Channel.control, { blob: digest, sizeBytes })),
      resume: () => channel.resume(),
      detach: () => settle(() => resolve({ detached: true })),
    };
    const commit = (): void => {
      if (committed) return;
      committed = true;
      sink.committed(handle);
    };

    const onEvent = (event: Readonly<Record<string, unknown>>): void => {
      const type = event["type"];
      if (type === "end") {
        const { exitCode, reason } = event;
        settle(() => resolve({ ...(typeof exitCode === "number" ? { exitCode } : {}), ...(typeof reason === "string" ? { reason } : {}) }));
        return;
      }
      if (type === "error") {
        const error = errorOfEvent(event);
        return settle(() => reject(begun && BREAKING_CODES.has(error.code) ? new ConnectionLost(error.message, committed) : error));
      }
      if (type === "took") {
        const { bytes } = event;
        if (typeof bytes === "number" && bytes > 0) window += bytes;
        widened?.();
        return;
      }
      if (type === "placed" || type === "started") {
        begun = true;
        commit();
      }
      // Checked by its type's name; the fields are read with care where they are shown.
      if (typeof type === "string" && SHOWN.has(type)) sink.event(event as StreamEvent);
    };

    const channel = openClientChannel(parts, connection, call, {
      opened: () => {
        if (call.commitsOnUpgrade) commit();
      },
      frame(bytes) {
        const frame = decodeFrame(bytes);
        if (frame.channel === Channel.event) return onEvent(decodeJson(frame.payload));
        const output = decodeOutput(frame);
        if (output === undefined) return;
        begun = true;
        commit();
        if (!sink.output(output.stream, output.data, output.position)) channel.pause();
      },
      ended: (reason) => settle(() => reject(typeof reason === "string" ? new ConnectionLost(reason, committed) : reason)),
    });
  });
}
