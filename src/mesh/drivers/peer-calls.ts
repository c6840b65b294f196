import { createServer, type Http2Session, type ServerHttp2Session } from "node:http2";
import { Code, ConnectError, type ConnectRouter, createContextKey, createContextValues, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import type { Stream } from "@libp2p/interface";
import { Mesh as MeshService } from "../../api/gen/cc/v1/mesh_pb.ts";
import { asCcError, CcError, type Logger, type PeerId } from "../../base/index.ts";
import { toWire } from "../call-errors.ts";
import { CALL_BYTES_MAX, CALLS_IN_FLIGHT_MAX, CALLS_SERVED_MAX, CALLS_WAITING_MAX } from "../limits.ts";
import type { CallOptions, CallReply, CallReplyInit, CallRequest, CallRequestInit, MeshCall } from "../mesh.ts";
import { createTurns, type Turns } from "../turns.ts";
import { type CallSession, explainFailure, openCallSession } from "./call-session.ts";
import { StreamDuplex } from "./stream-duplex.ts";

export const CALLS_PROTOCOL = "/cc/grpc/1";

/** Opening a stream is one round trip; every caller waits for the same one, so its limit is not any caller's. */
const OPEN_MS = 3_000;

type AnyHandler = (request: never, from: PeerId, signal: AbortSignal) => Promise<object>;
const CALLER = createContextKey<PeerId | undefined>(undefined);

/** gRPC statuses of our codes: for anyone who reads the wire without knowing our metadata. */
const statusOfCode = (code: string): Code =>
  code === "TIMEOUT" ? Code.DeadlineExceeded : code === "CANCELLED" ? Code.Canceled : code === "INTERNAL" ? Code.Internal : Code.FailedPrecondition;

/**
 * The contract's calls between peers. Each side keeps one HTTP/2 session to each peer it calls, on one libp2p stream of
 * the newest connection; a session that died is opened again by the next call.
 */
export type PeerCalls = {
  call<C extends MeshCall>(peer: PeerId, name: C, request: CallRequestInit<C>, options: CallOptions): Promise<CallReply<C>>;
  handle<C extends MeshCall>(name: C, handler: (request: CallRequest<C>, from: PeerId, signal: AbortSignal) => Promise<CallReplyInit<C>>): void;
  /** Runs the handler of a call that came another way. */
  answer(name: MeshCall, request: unknown, from: PeerId, signal: AbortSignal): Promise<object>;
  /** Serves a stream that `peer` opened. */
  accept(peer: PeerId, stream: Stream): void;
  /** Ends the sessions with one peer, or with all: calls under way fail with PEER_UNREACHABLE. */
  drop(peer?: PeerId): void;
};

export type PeerCallsParts = {
  /** Opens a stream on the newest connection to the peer. Throws PEER_UNREACHABLE without one. */
  readonly openStream: (peer: PeerId, signal: AbortSignal) => Promise<Stream>;
  /** Told at each reply: the peer lives, and both directions work. */
  readonly answered: (peer: PeerId) => void;
  readonly log: Logger;
};

export function createPeerCalls({ openStream, answered, log }: PeerCallsParts): PeerCalls {
  const handlers = new Map<string, AnyHandler>();
  const sessions = new Map<PeerId, Promise<CallSession>>();
  const turns = new Map<PeerId, Turns>();
  const served = new Map<PeerId, Set<ServerHttp2Session>>();
  const serving = new Map<PeerId, number>();
  const callerOf = new WeakMap<Http2Session, PeerId>();

  // --- calling

  const sessionTo = (peer: PeerId): Promise<CallSession> => {
    const kept = sessions.get(peer);
    if (kept !== undefined) return kept;
    const opening = openStream(peer, AbortSignal.timeout(OPEN_MS)).then(openCallSession);
    sessions.set(peer, opening);
    const forget = (): void => {
      if (sessions.get(peer) === opening) sessions.delete(peer);
    };
    opening.then((session) => session.closed.then(forget), forget);
    return opening;
  };

  const turnsFor = (peer: PeerId): Turns => {
    const own = turns.get(peer) ?? createTurns(CALLS_IN_FLIGHT_MAX, CALLS_WAITING_MAX);
    turns.set(peer, own);
    return own;
  };

  const call = async <C extends MeshCall>(peer: PeerId, name: C, request: CallRequestInit<C>, options: CallOptions): Promise<CallReply<C>> => {
    const startedMs = performance.now();
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
    let session: CallSession | undefined;
    let release: (() => void) | undefined;
    try {
      release = await turnsFor(peer).take(signal);
      session = await orAborted(sessionTo(peer), signal);
      // Whole milliseconds of at most 8 digits: a fraction is refused by the other side as an invalid grpc-timeout.
      const leftMs = Math.min(Math.max(1, Math.ceil(options.timeoutMs - (performance.now() - startedMs))), 99_999_999);
      const reply = await session.unary(name, request, leftMs, signal);
      answered(peer);
      return reply;
    } catch (error) {
      throw explainFailure(error, `${name} at ${peer}`, options.timeoutMs, options.signal?.aborted === true, session);
    } finally {
      release?.();
    }
  };

  // --- answering

  const answer = async (name: MeshCall, request: unknown, from: PeerId | undefined, signal: AbortSignal): Promise<object> => {
    const handler = handlers.get(name);
    if (from === undefined) throw new CcError("NOT_A_MEMBER", "the caller is not known");
    if (handler === undefined) throw new CcError("STARTING", `this peer does not answer ${name} yet`);
    const busy = serving.get(from) ?? 0;
    if (busy >= CALLS_SERVED_MAX) throw new CcError("RATE_LIMITED", `this peer works on ${busy} calls of yours already`);
    serving.set(from, busy + 1);
    try {
      return await handler(request as never, from, signal);
    } catch (error) {
      if (asCcError(error).code === "INTERNAL") log.warn({ call: name, from, err: error }, "a peer's call failed here");
      throw error;
    } finally {
      const left = (serving.get(from) ?? 1) - 1;
      if (left <= 0) serving.delete(from);
      else serving.set(from, left);
    }
  };

  const answerGrpc = async (name: MeshCall, request: unknown, context: HandlerContext): Promise<never> => {
    try {
      return (await answer(name, request, context.values.get(CALLER), context.signal)) as never;
    } catch (error) {
      const wire = toWire(error);
      throw new ConnectError(wire.message, statusOfCode(wire.code), wire.metadata);
    }
  };

  const routes = (router: ConnectRouter): void => {
    for (const method of MeshService.methods) {
      const name = method.localName as MeshCall;
      router.rpc(MeshService.method[name], (request: unknown, context: HandlerContext) => answerGrpc(name, request, context));
    }
  };
  const server = createServer(
    { settings: { maxConcurrentStreams: CALLS_SERVED_MAX, initialWindowSize: 256 * 1024, maxHeaderListSize: 32 * 1024 }, maxSessionMemory: 16 },
    connectNodeAdapter({
      routes,
      connect: false,
      grpcWeb: false,
      // gzip would be negotiated otherwise: 10 MB/s, and digests and signatures don't shrink.
      acceptCompression: [],
      readMaxBytes: CALL_BYTES_MAX,
      writeMaxBytes: CALL_BYTES_MAX,
      contextValues: (request) => {
        const session = "stream" in request ? request.stream.session : undefined;
        return createContextValues().set(CALLER, session === undefined ? undefined : callerOf.get(session));
      },
    }),
  );
  server.on("sessionError", (error) => log.debug({ err: error }, "a peer's call session broke"));

  const accept = (peer: PeerId, stream: Stream): void => {
    // The server tells of the new session while it takes the connection: that is how the session gets its caller.
    const onSession = (session: ServerHttp2Session): void => {
      callerOf.set(session, peer);
      const own = served.get(peer) ?? new Set();
      served.set(peer, own.add(session));
      session.once("close", () => {
        own.delete(session);
        if (own.size === 0 && served.get(peer) === own) served.delete(peer);
      });
    };
    server.once("session", onSession);
    server.emit("connection", new StreamDuplex(stream));
    server.off("session", onSession);
  };

  return {
    call,
    handle: (name, handler) => {
      handlers.set(name, handler as AnyHandler);
    },
    answer,
    accept,
    drop(peer) {
      for (const [key, opening] of sessions) {
        if (peer !== undefined && key !== peer) continue;
        sessions.delete(key);
        opening.then(
          (session) => session.abort(),
          () => undefined,
        ); // its opening failed: its callers were told
      }
      for (const [key, own] of served) {
        if (peer === undefined || key === peer) for (const session of own) session.destroy();
      }
      if (peer === undefined) turns.clear();
      else turns.delete(peer);
    },
  };
}

/** `promise`, or the signal's reason when that comes first. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
