import type { ClientHttp2Stream, Http2Session } from "node:http2";
import type { DescMethodUnary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { Stream } from "@libp2p/interface";
import { Mesh as MeshService } from "../../api/gen/cc/v1/mesh_pb.ts";
import { CcError } from "../../base/index.ts";
import { fromWire } from "../call-errors.ts";
import { CALL_BYTES_MAX } from "../limits.ts";
import type { CallReply, CallRequestInit, MeshCall } from "../mesh.ts";
import { StreamDuplex } from "./stream-duplex.ts";

const AUTHORITY = "http://peer";
/** Probes come more often: a session that rests so long belongs to a peer that left. */
const IDLE_MS = 15 * 60_000;

/** One HTTP/2 session to one peer, kept over all calls. */
export type CallSession = {
  unary<C extends MeshCall>(name: C, request: CallRequestInit<C>, timeoutMs: number, signal: AbortSignal): Promise<CallReply<C>>;
  isOpen(): boolean;
  /** Resolves when the stream under it is gone. */
  readonly closed: Promise<void>;
  abort(): void;
};

/**
 * Over a Duplex made in JavaScript a whole reply may be parsed in one turn of the loop: `closed` of the HTTP/2 stream
 * is true before Connect's first read, and the call fails with "Premature close" after 0 to 23 calls. A stream with
 * unread data is not closed for its reader: so says the getter put here.
 */
class PatientSessionManager extends Http2SessionManager {
  readonly #guarded = new WeakSet<Http2Session>();

  override async request(...args: Parameters<Http2SessionManager["request"]>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...args);
    const session = stream.session;
    if (session !== undefined && !this.#guarded.has(session)) {
      this.#guarded.add(session);
      // The manager destroys the session with an error when the other side says goodbye (GOAWAY) while nothing is under
      // way, and listens no more: without a listener a peer's orderly stop would end this process.
      session.on("error", () => undefined);
    }
    const closedOf = closedGetter(stream);
    Object.defineProperty(stream, "closed", {
      configurable: true,
      get: () => stream.destroyed || (closedOf() && stream.readableEnded),
    });
    return stream;
  }
}

function closedGetter(stream: ClientHttp2Stream): () => boolean {
  let prototype: unknown = Object.getPrototypeOf(stream);
  while (typeof prototype === "object" && prototype !== null) {
    const getter = Object.getOwnPropertyDescriptor(prototype, "closed")?.get;
    if (getter !== undefined) return () => getter.call(stream) === true;
    prototype = Object.getPrototypeOf(prototype);
  }
  throw new TypeError("HTTP/2 streams have no `closed` any more");
}

export function openCallSession(stream: Stream): CallSession {
  const duplex = new StreamDuplex(stream);
  const closed = new Promise<void>((resolve) => duplex.once("close", resolve));
  let used = false;
  const manager = new PatientSessionManager(
    AUTHORITY,
    { idleConnectionTimeoutMs: IDLE_MS },
    {
      createConnection: () => {
        // The manager would reconnect by itself; a new session needs a new libp2p stream, which the caller opens.
        if (used) throw new CcError("PEER_UNREACHABLE", "the session with the peer ended");
        used = true;
        return duplex;
      },
      settings: { initialWindowSize: 256 * 1024, enablePush: false, maxHeaderListSize: 32 * 1024 },
      maxSessionMemory: 16,
    },
  );
  const transport = createGrpcTransport({
    baseUrl: AUTHORITY,
    sessionManager: manager,
    // gzip would be negotiated otherwise: 10 MB/s, and digests and signatures don't shrink.
    acceptCompression: [],
    readMaxBytes: CALL_BYTES_MAX,
    writeMaxBytes: CALL_BYTES_MAX,
  });
  return {
    async unary(name, request, timeoutMs, signal) {
      // Every call of the contract is unary; which of them `name` is, the caller's types know.
      const method: DescMethodUnary = MeshService.method[name];
      const response = await transport.unary(method, signal, timeoutMs, undefined, request);
      return response.message as CallReply<typeof name>;
    },
    isOpen: () => !duplex.destroyed,
    closed,
    abort: () => {
      manager.abort();
      duplex.destroy();
    },
  };
}

/** What a failed call means to its caller. `session` is undefined where none came about. */
export function explainFailure(thrown: unknown, what: string, timeoutMs: number, cancelled: boolean, session: CallSession | undefined): CcError {
  if (thrown instanceof CcError) return thrown;
  if (thrown instanceof ConnectError) {
    const refused = fromWire(thrown.rawMessage, (key) => thrown.metadata.get(key));
    if (refused !== undefined) return refused;
  }
  if (cancelled) return new CcError("CANCELLED", `${what} was cancelled`, { cause: thrown });
  const timedOut = thrown instanceof ConnectError ? thrown.code === Code.DeadlineExceeded : thrown instanceof Error && thrown.name === "TimeoutError";
  if (timedOut) return new CcError("TIMEOUT", `${what}: no answer within ${timeoutMs} ms`, { cause: thrown });
  if (session === undefined || !session.isOpen()) return new CcError("PEER_UNREACHABLE", `${what}: there is no connection to the peer`, { cause: thrown });
  if (thrown instanceof ConnectError) {
    if (thrown.code === Code.ResourceExhausted) return new CcError("TOO_LARGE", `${what}: ${thrown.rawMessage}`, { cause: thrown });
    if (thrown.code === Code.Unimplemented) return new CcError("NOT_YET", `${what}: the peer's version does not know this call`, { cause: thrown });
    // The peer reset the call or is going away: it was not refused by its handler, which would have given a code.
    if (thrown.code === Code.Unavailable || thrown.code === Code.Aborted || thrown.code === Code.Canceled)
      return new CcError("PEER_UNREACHABLE", `${what}: the peer dropped the call`, { cause: thrown });
  }
  return new CcError("INTERNAL", `${what} failed: ${thrown instanceof Error ? thrown.message : String(thrown)}`, { cause: thrown });
}
