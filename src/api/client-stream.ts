import { createHash } from "node:crypto";
import { CcError, type Clock, type ErrorCode, isErrorCode, type Random } from "../base/index.ts";
import type { Connection } from "./client-connection.ts";
import { createResponseParser, encodeRequest, errorOf, type HttpResponse, stringDetails } from "./client-http.ts";
import { createFrameParser, encodeClientFrame, Opcode } from "./client-websocket.ts";
import {
  Channel,
  decodeFrame,
  decodeJson,
  decodeOutput,
  encodeFrame,
  encodeJsonFrame,
  FRAME_BYTES_MAX,
  HEADER_REQUEST_BYTES_MAX,
  type StreamEvent,
} from "./streams.ts";

/** A peer that leaves this many pings unanswered is gone. Counted, not timed: a blocked stdout stops this process too. */
const PINGS_UNANSWERED_MAX = 3;
const PING_EVERY_MS = 5_000;
/** With these a stream breaks that has got as far as the container: its peer stops, or lost the container's host. Before that they are refusals. */
const BREAKING_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["PEER_UNREACHABLE", "HOST_UNREACHABLE", "STARTING"]);
/** The largest request that a stream may begin with: what the server takes. */
const REQUEST_BYTES_MAX = 256 * 1024;
/** Signing, placing and answering an upgrade takes a peer some 5 s at most. */
const UPGRADE_MS_MAX = 15_000;

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

/** The connection ended or went silent: whether the request took effect is unknown. */
export class ConnectionLost extends Error {
  readonly committed: boolean;
  constructor(message: string, committed: boolean) {
    super(message);
    this.name = "ConnectionLost";
    this.committed = committed;
  }
}

export type SignedBody = { readonly body: Uint8Array; readonly headers: Readonly<Record<string, string>> };

const SHOWN: ReadonlySet<string> = new Set<StreamEvent["type"]>(["explain", "placed", "progress", "started", "warning", "lost", "input-ended", "pushed"]);
const WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

export type StreamCallMade = {
  readonly path: string;
  readonly host: string;
  readonly request: SignedBody;
  readonly commitsOnUpgrade: boolean;
  /** So much input may be under way that was not taken yet; undefined: as much as the connection takes. */
  readonly inputWindowBytes?: number | undefined;
};

/**
 * One WebSocket call from the upgrade to its last frame. `commitsOnUpgrade` is for calls that only read: they have
 * taken effect once the peer agreed. Throws the peer's refusal as CcError, ConnectionLost otherwise, also where the peer
 * says that it cannot go on with what it had begun.
 */
export function runStream(
  parts: { readonly clock: Clock; readonly random: Pick<Random, "bytes"> },
  connection: Connection,
  call: StreamCallMade,
  sink: StreamSink,
): Promise<StreamEnd> {
  return new Promise((resolve, reject) => {
    const key = Buffer.from(parts.random.bytes(16)).toString("base64");
    const header = Buffer.from(call.request.body).toString("base64url");
    const inHeader = header.length <= HEADER_REQUEST_BYTES_MAX;
    if (call.request.body.length > REQUEST_BYTES_MAX) {
      return reject(
        new CcError(
          "TOO_LARGE",
          `the request is ${call.request.body.length} bytes, more than the ${REQUEST_BYTES_MAX} that it may be; give fewer or shorter environment values`,
        ),
      );
    }
    const responses = createResponseParser();
    const frames = createFrameParser();
    let phase: "upgrading" | "open" | "over" = "upgrading";
    let committed = false;
    let begun = false;
    let unanswered = 0;
    let paused = false;
    let window = call.inputWindowBytes ?? Number.POSITIVE_INFINITY;
    let widened: (() => void) | undefined;
    let cancelTimer = parts.clock.after(UPGRADE_MS_MAX, () => lose("the peer did not answer the upgrade in time"));

    const send = (opcode: number, payload: Uint8Array): boolean => connection.write(encodeClientFrame(opcode, payload, parts.random.bytes(4)));
    const over = (settle: () => void): void => {
      if (phase === "over") return;
      const wasOpen = phase === "open";
      phase = "over";
      widened?.();
      cancelTimer();
      if (wasOpen) send(Opcode.close, Buffer.from([0x03, 0xe8]));
      connection.close();
      settle();
    };
    const lose = (why: string): void => over(() => reject(new ConnectionLost(why, committed)));
    const fail = (error: unknown): void => over(() => reject(error));

    const handle: StreamHandle = {
      async input(bytes) {
        for (let at = 0; at < bytes.length && phase === "open"; ) {
          if (window <= 0) {
            await new Promise<void>((resolve) => {
              widened = resolve;
            });
            continue;
          }
          const part = bytes.subarray(at, at + Math.min(FRAME_BYTES_MAX, window));
          at += part.length;
          window -= part.length;
          if (!send(Opcode.binary, encodeFrame(Channel.stdin, part))) await connection.drained();
        }
      },
      inputEnd: () => void (phase === "open" && send(Opcode.binary, encodeFrame(Channel.stdinEnd, new Uint8Array()))),
      signal: (name) => void (phase === "open" && send(Opcode.binary, encodeJsonFrame(Channel.control, { signal: name }))),
      blob: (digest, sizeBytes) => void (phase === "open" && send(Opcode.binary, encodeJsonFrame(Channel.control, { blob: digest, sizeBytes }))),
      resume() {
        paused = false;
        connection.resume();
      },
      detach: () => over(() => resolve({ detached: true })),
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
        over(() => resolve({ ...(typeof exitCode === "number" ? { exitCode } : {}), ...(typeof reason === "string" ? { reason } : {}) }));
        return;
      }
      if (type === "error") {
        const code: ErrorCode = typeof event["code"] === "string" && isErrorCode(event["code"]) ? event["code"] : "INTERNAL";
        if (begun && BREAKING_CODES.has(code)) return lose(String(event["message"] ?? code));
        fail(new CcError(code, String(event["message"] ?? "the peer gave no reason"), { details: stringDetails(event["details"]) }));
        return;
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
    const onMessage = (opcode: number, payload: Uint8Array): void => {
      if (opcode === Opcode.ping) return void send(Opcode.pong, payload);
      if (opcode === Opcode.close) return lose("the peer closed the stream before its end");
      if (opcode !== Opcode.binary) return;
      const frame = decodeFrame(payload);
      if (frame.channel === Channel.event) return onEvent(decodeJson(frame.payload));
      const output = decodeOutput(frame);
      if (output === undefined) return;
      begun = true;
      commit();
      if (sink.output(output.stream, output.data, output.position)) return;
      paused = true;
      connection.pause();
    };
    const onBytes = (chunk: Uint8Array): void => {
      for (const message of frames.push(chunk)) {
        if (phase !== "open") return;
        onMessage(message.opcode, message.payload);
      }
    };
    const watch = (): void => {
      if (phase !== "open") return;
      if (unanswered >= PINGS_UNANSWERED_MAX) return lose("the peer went silent");
      // Who does not read cannot hear the answer.
      if (!paused) unanswered += 1;
      send(Opcode.ping, new Uint8Array());
      cancelTimer = parts.clock.after(PING_EVERY_MS, watch);
    };
    const onUpgrade = (response: HttpResponse): void => {
      if (response.status !== 101) return fail(errorOf(response));
      const expected = createHash("sha1")
        .update(key + WEBSOCKET_GUID)
        .digest("base64");
      if (response.headers.get("sec-websocket-accept") !== expected)
        return fail(new CcError("PEER_UNREACHABLE", "the endpoint does not answer the upgrade as a peer does; check CC_ENDPOINT_URL"));
      phase = "open";
      cancelTimer();
      cancelTimer = parts.clock.after(PING_EVERY_MS, watch);
      if (!inHeader) send(Opcode.binary, encodeFrame(Channel.request, call.request.body));
      if (call.commitsOnUpgrade) commit();
      if (response.rest.length > 0) onBytes(response.rest);
    };

    connection.listen({
      data(chunk) {
        unanswered = 0;
        try {
          if (phase === "open") return onBytes(chunk);
          if (phase === "over") return;
          const response = responses.push(chunk);
          if (response !== undefined) onUpgrade(response);
        } catch (error) {
          fail(error);
        }
      },
      end: (error) => lose(error?.message ?? "the peer closed the connection"),
    });
    connection.write(
      encodeRequest("GET", call.path, {
        host: call.host,
        upgrade: "websocket",
        connection: "Upgrade",
        "sec-websocket-key": key,
        "sec-websocket-version": "13",
        ...(inHeader ? { "cc-request": header } : {}),
        ...call.request.headers,
      }),
    );
  });
}
