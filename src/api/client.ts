import { CcError, type Clock, type ErrorCode, isPeerId, isZone, type Random, sleep } from "../base/index.ts";
import { type ChannelEvents, type ClientChannel, ConnectionLost, openedChannel, type SignedBody } from "./client-channel.ts";
import type { Connection, Dialer, Endpoint, ProvenPeer } from "./client-connection.ts";
import { skewIn, unreachable } from "./client-failures.ts";
import { createResponseParser, encodeRequest, errorOf, jsonBody } from "./client-http.ts";
import {
  type ChannelCall,
  type ChannelRequestOf,
  type ReplyOf,
  type RequestOf,
  type SignedCall,
  type StreamCall,
  type StreamRequestOf,
  type UnsignedCall,
  WRITE_CALLS,
  type Written,
} from "./client-messages.ts";
import { decodeReply } from "./client-replies.ts";
import { PASSING_CODES, runResuming } from "./client-resume.ts";
import { runStream, type StreamEnd, type StreamSink } from "./client-stream.ts";
import { INPUT_WINDOW_BYTES } from "./streams.ts";

/**
 * The light client of a peer's API: the contract's JSON form over one connection that has proven its peer, without
 * protobuf, Connect or node:http (each would cost the command line more than the whole request).
 *
 * A request is one body per attempt: addressed to the connected peer, signed anew with a new nonce; a change carries
 * the same client token in every attempt, so that a retry is the same thing. Reads are asked again of the next endpoint
 * when a connection fails. Changes are too; where their outcome is unknown the client goes on for 30 s and then says so.
 *
 * Rejected: retrying refusals (an answer is an answer), remembering which endpoint worked last (the order is the user's).
 */
const RETRY_UNKNOWN_MS = 30_000;
const RETRY_PAUSE_MS = 500;
const CALL_MS_MAX = 20_000;
/** Refusals of one peer for which the next is asked. */
const ASKED_ELSEWHERE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["STARTING", "STORE_LOST"]);

/** The headers (RFC 9421, RFC 9530) that sign one body; from identity's `signRequest`, bound to a key. */
export type Sign = (input: { readonly body: Uint8Array; readonly createdS: number; readonly nonce: string }) => Readonly<Record<string, string>>;

export type ClientParts = {
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly random: Pick<Random, "bytes">;
  /** The caller's last writes, at most 32, newest last: a peer that lacks one fetches it before it answers. */
  readonly seen: (call: SignedCall | StreamCall | ChannelCall, request: object) => readonly Written[];
  readonly wrote: (written: readonly Written[]) => void;
  /** What the user should know though the request goes on. */
  readonly warn: (text: string) => void;
};

export type ClientSettings = {
  readonly endpoints: readonly Endpoint[];
  readonly mesh: string;
  readonly sign: Sign;
};

export interface CloudClient {
  /** `request` may depend on the peer that it is addressed to: an invite names its issuer's zone. */
  call<C extends SignedCall>(call: C, request: RequestOf<C> | ((peer: ProvenPeer) => RequestOf<C>)): Promise<ReplyOf<C>>;
  /** Goes on over other connections where its own breaks: see client-resume.ts. */
  stream<C extends StreamCall>(call: C, request: StreamRequestOf<C>, sink: StreamSink): Promise<StreamEnd>;
  /** Opens a stream whose frames are the caller's. Rejects with a refusal, also of the request itself; what ends it later is told to `events`. */
  channel<C extends ChannelCall>(call: C, request: ChannelRequestOf<C>, events: Omit<ChannelEvents, "opened">): Promise<ClientChannel>;
  /** Who gave the last answer to a call. */
  readonly answeredBy: ProvenPeer | undefined;
  /** Wall-clock time as the peers count it, as far as it is known. */
  nowMs(): number;
  close(): void;
}

const encoder = new TextEncoder();

export function callPath(call: string): string {
  return `/cc.v1.Cloud/${call}`;
}

const hostHeader = (endpoint: Endpoint): string => (endpoint.kind === "unix" ? "localhost" : new URL(endpoint.url).host);

/** One request and its response on a connection that stays open. Throws ConnectionLost, or the peer's refusal. */
function exchange(clock: Clock, connection: Connection, endpoint: Endpoint, path: string, request: SignedBody): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    const parser = createResponseParser();
    const finish = (settle: () => void): void => {
      cancel();
      connection.listen({ data: () => undefined, end: () => undefined });
      settle();
    };
    const cancel = clock.after(CALL_MS_MAX, () => {
      connection.close();
      finish(() => reject(new ConnectionLost(`${endpoint.url} gave no answer within ${CALL_MS_MAX / 1000} s`, false)));
    });
    const take = (response: ReturnType<typeof parser.end>): void => {
      if (response === undefined) return;
      if (!response.keepAlive) connection.close();
      finish(() => (response.status === 200 ? resolve(jsonBody(response)) : reject(errorOf(response))));
    };
    connection.listen({
      data(chunk) {
        try {
          take(parser.push(chunk));
        } catch (error) {
          connection.close();
          finish(() => reject(error));
        }
      },
      end(error) {
        const response = error === undefined ? parser.end() : undefined;
        if (response !== undefined) return take(response);
        finish(() =>
          reject(new ConnectionLost(`${endpoint.url} closed the connection before it answered${error === undefined ? "" : ` (${error.message})`}`, false)),
        );
      },
    });
    connection.write(
      encodeRequest(
        "POST",
        path,
        { host: hostHeader(endpoint), "content-type": "application/json", "connect-protocol-version": "1", ...request.headers },
        request.body,
      ),
    );
  });
}

/** Hello, Admit and Introduce: unsigned, to one endpoint, on a connection of their own. */
export async function callUnsigned<C extends UnsignedCall>(
  parts: Pick<ClientParts, "dialer" | "clock">,
  endpoint: Endpoint,
  call: C,
  request: RequestOf<C>,
): Promise<ReplyOf<C>> {
  const connection = await parts.dialer.dial(endpoint);
  try {
    return decodeReply(call, await exchange(parts.clock, connection, endpoint, callPath(call), { body: encoder.encode(JSON.stringify(request)), headers: {} }));
  } finally {
    connection.close();
  }
}

/** Calls whose retry at another peer has to know where it was tried before. */
const TELLS_ASKED: ReadonlySet<string> = new Set(["Run", "CreateVolume", "CreateVpc"]);

/** Streams whose input is sent no faster than it is taken. */
const BY_WINDOW: ReadonlySet<string> = new Set<StreamCall>(["Run", "Attach", "Exec"]);

/** Streams that cannot be taken up again: their caller begins anew, or not. */
const ENDS_WITH_ITS_CONNECTION: ReadonlySet<string> = new Set<StreamCall>(["Exec", "Push"]);

type Attempt = { readonly connection: Connection; readonly endpoint: Endpoint; readonly peer: ProvenPeer; readonly askedBefore: readonly string[] };

export function createCloudClient(parts: ClientParts, settings: ClientSettings): CloudClient {
  const { clock, random, dialer } = parts;
  let kept: { connection: Connection; endpoint: Endpoint; peer: ProvenPeer } | undefined;
  let clockOffsetMs = 0;
  let answeredBy: ProvenPeer | undefined;

  const newToken = (): string => Buffer.from(random.bytes(18)).toString("base64url");

  const connect = async (endpoint: Endpoint): Promise<{ connection: Connection; peer: ProvenPeer }> => {
    if (kept !== undefined && !kept.connection.ended && kept.endpoint === endpoint) return kept;
    kept?.connection.close();
    kept = undefined;
    const connection = await dialer.dial(endpoint);
    let peer = connection.peer;
    if (peer === undefined) {
      const hello = decodeReply("Hello", await exchange(clock, connection, endpoint, callPath("Hello"), { body: encoder.encode("{}"), headers: {} }));
      if (hello.mesh !== settings.mesh)
        throw new CcError("WRONG_MESH", `the peer at ${endpoint.url} belongs to another mesh; check CC_ENDPOINT_URL and CC_ACCESS_TOKEN`);
      if (!isPeerId(hello.peer) || !isZone(hello.zone)) throw new CcError("PEER_UNREACHABLE", `${endpoint.url} does not answer as a peer does`);
      peer = { peerId: hello.peer, zone: hello.zone };
    }
    kept = { connection, endpoint, peer };
    return { connection, peer };
  };
  const forget = (): void => {
    kept?.connection.close();
    kept = undefined;
  };

  const signBody = (call: SignedCall | StreamCall | ChannelCall, peer: ProvenPeer, request: object): SignedBody => {
    const seen = WRITE_CALLS.has(call) ? [] : parts.seen(call, request);
    const to = { call, mesh: settings.mesh, peer: peer.peerId, ...(seen.length > 0 ? { seen } : {}) };
    const body = encoder.encode(JSON.stringify({ to, ...request }));
    const nonce = Buffer.from(random.bytes(16)).toString("base64url");
    const createdS = Math.floor((clock.nowMs() + clockOffsetMs) / 1000);
    return { body, headers: settings.sign({ body, createdS, nonce }) };
  };

  /** Runs one attempt, once more where only this machine's clock was wrong. */
  const attemptOn = async <T>(attempt: Attempt, run: (attempt: Attempt) => Promise<T>): Promise<T> => {
    try {
      return await run(attempt);
    } catch (error) {
      const skew = skewIn(error);
      if (skew === undefined || (clockOffsetMs !== 0 && skew.waitMs === 0)) throw error;
      clockOffsetMs = skew.timeMs - clock.nowMs();
      // A peer that has just started takes what is signed from its next second on: nothing is wrong with this machine's clock.
      if (skew.waitMs > 0) await sleep(clock, skew.waitMs);
      else {
        parts.warn(
          `this machine's clock is ${Math.abs(Math.round(clockOffsetMs / 1000))} s ${clockOffsetMs > 0 ? "behind" : "ahead of"} the peer's; signed with the peer's time, but set the clock right`,
        );
      }
      const { connection, peer } = await connect(attempt.endpoint);
      return await run({ ...attempt, connection, peer });
    }
  };

  const withRetries = async <T>(isWrite: boolean, run: (attempt: Attempt) => Promise<T>, passing = ASKED_ELSEWHERE): Promise<T> => {
    const startedMs = clock.monotonicMs();
    const askedBefore: string[] = [];
    let unknown: string | undefined;
    for (let round = 0; ; round += 1) {
      const failures: { endpoint: string; error: CcError }[] = [];
      let lost = false;
      for (const endpoint of settings.endpoints) {
        let attempt: Attempt;
        try {
          attempt = { ...(await connect(endpoint)), endpoint, askedBefore: [...askedBefore] };
        } catch (error) {
          if (!(error instanceof CcError) && !(error instanceof ConnectionLost)) throw error;
          failures.push({ endpoint: endpoint.url, error: error instanceof CcError ? error : new CcError("PEER_UNREACHABLE", error.message) });
          continue;
        }
        try {
          return await attemptOn(attempt, run);
        } catch (error) {
          forget();
          if (!askedBefore.includes(attempt.peer.peerId)) askedBefore.push(attempt.peer.peerId);
          if (error instanceof ConnectionLost) {
            if (error.committed) throw error;
            lost = true;
            if (isWrite) unknown = error.message;
            failures.push({ endpoint: endpoint.url, error: new CcError("PEER_UNREACHABLE", error.message) });
          } else if (error instanceof CcError && error.code === "OUTCOME_UNKNOWN" && isWrite) {
            unknown = error.message;
          } else if (error instanceof CcError && passing.has(error.code)) {
            failures.push({ endpoint: endpoint.url, error });
          } else throw error;
        }
      }
      const elapsedMs = clock.monotonicMs() - startedMs;
      if (unknown !== undefined && elapsedMs + RETRY_PAUSE_MS >= RETRY_UNKNOWN_MS) {
        throw new CcError(
          "OUTCOME_UNKNOWN",
          `whether this was done is unknown after ${Math.round(elapsedMs / 1000)} s (${unknown}); look with cc ps before you try again`,
        );
      }
      // A read whose connection broke is asked once more everywhere; nobody reachable at all is said at once.
      if (unknown === undefined && !(lost && round === 0)) throw unreachable(failures);
      await sleep(clock, RETRY_PAUSE_MS);
    }
  };

  const openStream = async <C extends StreamCall>(call: C, request: StreamRequestOf<C>, sink: StreamSink, again: boolean): Promise<StreamEnd> => {
    const isWrite = WRITE_CALLS.has(call);
    const token = isWrite ? { token: newToken() } : {};
    return await withRetries(
      isWrite,
      async ({ connection, endpoint, peer, askedBefore }) => {
        const asked = TELLS_ASKED.has(call) && askedBefore.length > 0 ? { askedBefore } : {};
        const signed = signBody(call, peer, { ...token, ...request, ...asked });
        // A stream ends its connection: the next call dials anew.
        if (kept?.connection === connection) kept = undefined;
        const made = {
          path: callPath(call),
          host: hostHeader(endpoint),
          request: signed,
          commitsOnUpgrade: call === "Logs",
          ...(BY_WINDOW.has(call) && { inputWindowBytes: INPUT_WINDOW_BYTES }),
        };
        if (!ENDS_WITH_ITS_CONNECTION.has(call)) return await runStream(parts, connection, made, sink);
        try {
          return await runStream(parts, connection, { ...made, commitsOnUpgrade: true }, sink);
        } catch (error) {
          if (!(error instanceof ConnectionLost)) throw error;
          if (error.committed) throw new CcError("PEER_UNREACHABLE", error.message);
          // A command has no token to be known again by: it is not asked for twice.
          if (call !== "Exec") throw error;
          throw new CcError("OUTCOME_UNKNOWN", `whether the command began is unknown (${error.message}); if it did, it was ended`);
        }
      },
      again ? PASSING_CODES : ASKED_ELSEWHERE,
    );
  };

  return {
    async call(call, request) {
      const isWrite = WRITE_CALLS.has(call);
      const token = isWrite ? { token: newToken() } : {};
      const reply = await withRetries(isWrite, async ({ connection, endpoint, peer, askedBefore }) => {
        const asked = TELLS_ASKED.has(call) && askedBefore.length > 0 ? { askedBefore } : {};
        const body = { ...token, ...(typeof request === "function" ? request(peer) : request), ...asked };
        const answer = await exchange(clock, connection, endpoint, callPath(call), signBody(call, peer, body));
        answeredBy = peer;
        return decodeReply(call, answer);
      });
      if ("wrote" in reply && reply.wrote.length > 0) parts.wrote(reply.wrote);
      return reply;
    },
    stream: (call, request, sink) =>
      ENDS_WITH_ITS_CONNECTION.has(call) ? openStream(call, request, sink, false) : runResuming({ clock, open: openStream }, call, request, sink),
    channel: (call, request, events) =>
      withRetries(false, ({ connection, endpoint, peer }) => {
        const opening = { path: callPath(call), host: hostHeader(endpoint), request: signBody(call, peer, request) };
        if (kept?.connection === connection) kept = undefined;
        return openedChannel(parts, connection, opening, events);
      }),
    get answeredBy() {
      return answeredBy;
    },
    nowMs: () => clock.nowMs() + clockOffsetMs,
    close: forget,
  };
}
