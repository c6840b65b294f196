import { CcError, type Clock, freeBuffer, type Random } from "../base/index.ts";
import type { Connection } from "./client-connection.ts";
import { createResponseParser, encodeRequest, errorOf, type HttpResponse } from "./client-http.ts";
import { Channel, encodeFrame, HEADER_REQUEST_BYTES_MAX } from "./streams.ts";
import * as websocket from "./websocket.ts";
import { Opcode } from "./websocket.ts";

/** A peer that leaves this many pings unanswered is gone. Counted, not timed: a blocked stdout stops this process too. */
const PINGS_UNANSWERED_MAX = 3;
const PING_EVERY_MS = 5_000;
/** The largest request that a stream may begin with: what the server takes. */
const REQUEST_BYTES_MAX = 256 * 1024;
/** Signing, placing and answering an upgrade takes a peer some 5 s at most. */
const UPGRADE_MS_MAX = 15_000;
/** A peer's message may be this long. */
const MESSAGE_BYTES_MAX = 1024 * 1024;

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

export type ChannelOpening = { readonly path: string; readonly host: string; readonly request: SignedBody };

export type ChannelEvents = {
  /** The peer agreed; frames may be sent. */
  opened(): void;
  /** One frame. What it throws ends the channel. */
  frame(bytes: Uint8Array): void;
  /** Once, if not closed from this side: the peer's refusal (CcError), what `frame` threw, or that the connection was lost (text). */
  ended(reason: unknown): void;
};

export type ClientChannel = {
  /** One frame. False: send no more before `drained`. The parts are the caller's again. Nothing happens once the channel is over. */
  send(...parts: readonly Uint8Array[]): boolean;
  drained(): Promise<void>;
  pause(): void;
  resume(): void;
  close(): void;
};

/** One WebSocket call, from its signed upgrade on: frames both ways, and pings, so that a silent peer is noticed. */
export function openClientChannel(
  parts: { readonly clock: Clock; readonly random: Pick<Random, "bytes"> },
  connection: Connection,
  opening: ChannelOpening,
  events: ChannelEvents,
): ClientChannel {
  const { body, headers } = opening.request;
  const key = Buffer.from(parts.random.bytes(16)).toString("base64");
  const header = Buffer.from(body).toString("base64url");
  const inHeader = header.length <= HEADER_REQUEST_BYTES_MAX;
  const responses = createResponseParser();
  const frames = websocket.createFrameParser("server", MESSAGE_BYTES_MAX);
  let phase: "upgrading" | "open" | "over" = "upgrading";
  let unanswered = 0;
  let paused = false;
  let cancelTimer = parts.clock.after(UPGRADE_MS_MAX, () => end("the peer did not answer the upgrade in time"));

  const write = (opcode: number, ...parts: readonly Uint8Array[]): boolean => connection.write(websocket.encodeFrame("client", opcode, ...parts));
  const close = (): void => {
    if (phase === "over") return;
    const wasOpen = phase === "open";
    phase = "over";
    cancelTimer();
    if (wasOpen) write(Opcode.close, Buffer.from([0x03, 0xe8]));
    connection.close();
  };
  const end = (reason: unknown): void => {
    if (phase === "over") return;
    close();
    events.ended(reason);
  };

  const onBytes = (chunk: Uint8Array): void => {
    for (const { opcode, payload } of frames.push(chunk)) {
      if (phase !== "open") return;
      if (opcode === Opcode.ping) write(Opcode.pong, payload);
      else if (opcode === Opcode.close) return end("the peer closed the stream before its end");
      else if (opcode === Opcode.binary) events.frame(payload);
    }
  };
  const watch = (): void => {
    if (phase !== "open") return;
    if (unanswered >= PINGS_UNANSWERED_MAX) return end("the peer went silent");
    // Who does not read cannot hear the answer.
    if (!paused) unanswered += 1;
    write(Opcode.ping, new Uint8Array());
    cancelTimer = parts.clock.after(PING_EVERY_MS, watch);
  };
  const onUpgrade = (response: HttpResponse): void => {
    if (response.status !== 101) return end(errorOf(response));
    if (response.headers.get("sec-websocket-accept") !== websocket.acceptKey(key))
      return end(new CcError("PEER_UNREACHABLE", "the endpoint does not answer the upgrade as a peer does; check CC_ENDPOINT_URL"));
    phase = "open";
    cancelTimer();
    cancelTimer = parts.clock.after(PING_EVERY_MS, watch);
    if (!inHeader) write(Opcode.binary, encodeFrame(Channel.request, body));
    events.opened();
    if (response.rest.length > 0) onBytes(response.rest);
  };

  if (body.length > REQUEST_BYTES_MAX) {
    // A later turn: the caller has its channel before it hears of its end.
    queueMicrotask(() =>
      end(
        new CcError(
          "TOO_LARGE",
          `the request is ${body.length} bytes, more than the ${REQUEST_BYTES_MAX} that it may be; give fewer or shorter environment values`,
        ),
      ),
    );
  } else {
    connection.listen({
      data(chunk) {
        unanswered = 0;
        try {
          if (phase === "open") {
            onBytes(chunk);
            return freeBuffer(chunk);
          }
          if (phase === "over") return;
          const response = responses.push(chunk);
          if (response !== undefined) onUpgrade(response);
        } catch (error) {
          end(error);
        }
      },
      end: (error) => end(error?.message ?? "the peer closed the connection"),
    });
    connection.write(
      encodeRequest("GET", opening.path, {
        host: opening.host,
        upgrade: "websocket",
        connection: "Upgrade",
        "sec-websocket-key": key,
        "sec-websocket-version": "13",
        ...(inHeader ? { "cc-request": header } : {}),
        ...headers,
      }),
    );
  }

  return {
    send: (...parts) => phase !== "open" || write(Opcode.binary, ...parts),
    drained: () => connection.drained(),
    pause() {
      paused = true;
      connection.pause();
    },
    resume() {
      paused = false;
      connection.resume();
    },
    close,
  };
}

/** A channel once its peer has agreed. Rejects with the refusal, or with ConnectionLost; what ends it later is told to `events`. */
export function openedChannel(
  parts: { readonly clock: Clock; readonly random: Pick<Random, "bytes"> },
  connection: Connection,
  opening: ChannelOpening,
  events: Omit<ChannelEvents, "opened">,
): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    let open = false;
    const channel = openClientChannel(parts, connection, opening, {
      ...events,
      opened: () => {
        open = true;
        resolve(channel);
      },
      ended: (reason) => {
        if (open) events.ended(reason);
        else reject(typeof reason === "string" ? new ConnectionLost(reason, false) : reason);
      },
    });
  });
}
