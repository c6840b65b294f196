import { create, toJsonString } from "@bufbuild/protobuf";
import type { Connection, ConnectionListener, Dialer, Endpoint } from "../../src/api/client-connection.ts";
import { errorBody } from "../../src/api/drivers/requests.ts";
import { Cloud } from "../../src/api/gen/cc/v1/cloud_pb.ts";
import { type CloudCall, decodeBody, isOpenCall, type OpenCall, type SignedCall } from "../../src/api/index.ts";
import { asCcError, CcError, type Clock } from "../../src/base/index.ts";
import type { Life, SimulatedHost } from "./host.ts";
import type { SeededRandom } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export type ApiFaults = {
  /** Probability that a request or its answer is lost with its connection. */
  lossRate: number;
  delayMsMin: number;
  delayMsMax: number;
};

const CALM: Readonly<ApiFaults> = { lossRate: 0, delayMsMin: 1, delayMsMax: 10 };
const CONNECT_MS_MAX = 3_000;
const EXCHANGE_MS_MAX = 30_000;

/** A request on its way to a peer, for who listens on the wire. */
export type SeenRequest = {
  readonly host: string;
  readonly path: string;
  readonly head: string;
  readonly body: Uint8Array;
  /** Of its peer, as it came there. */
  readonly life: Life;
  /** Only what its peer let in, the user's own or a copy, has used its nonce up. */
  fate: "underway" | "refused" | "let in";
};

/**
 * The way from users (and joiners) to peers' HTTPS ports: HTTP/1.1 as the light client writes it, answered by the handlers
 * behind the server. Requests and answers are lost with their connection; a host without power answers nothing.
 */
export class ApiNetwork {
  readonly faults: ApiFaults = { ...CALM };
  readonly hosts = new Map<string, SimulatedHost>();
  /** `from>host` for each way that is cut. */
  readonly cuts = new Set<string>();
  onRequest: (request: SeenRequest) => void = () => undefined;
  /** Calls that a peer is at work on. */
  readonly underway = new Set<{ readonly host: string; readonly path: string; readonly life: Life; readonly sinceMs: number }>();
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  readonly #open = new Set<SimulatedConnection>();

  constructor(timeline: Timeline, random: SeededRandom) {
    this.#timeline = timeline;
    this.#random = random;
  }

  healAll(): void {
    this.cuts.clear();
    Object.assign(this.faults, CALM);
  }

  dialerOf(from: string, clock: Clock): Dialer {
    return { dial: (endpoint) => this.#dial(from, clock, endpoint) };
  }

  /** A host's process ended: who is connected finds out (with the power it does not, but nothing comes either). */
  reset(host: string): void {
    for (const connection of this.#open) if (connection.host === host) this.#timeline.after(this.#delayMs(), () => connection.fail("connection reset"));
  }

  /** Sends bytes as if from a connection of its own: for who plays requests back. `onLetIn`: once the peer goes on to act. */
  async exchange(
    from: string,
    host: string,
    path: string,
    head: string,
    body: Uint8Array,
    onLetIn: () => void,
  ): Promise<{ readonly status: number; readonly code: string }> {
    const life = this.hosts.get(host)?.life;
    if (life === undefined || !this.#passes(from, host)) return { status: 0, code: "PEER_UNREACHABLE" };
    // A peer that dies meanwhile answers nobody.
    const silence = this.#timeline.sleep(EXCHANGE_MS_MAX).then(() => ({ status: 0, code: "TIMEOUT" }));
    const { status, code } = await Promise.race([answer(life, path, head, body, onLetIn), silence]);
    return { status, code };
  }

  #passes(from: string, host: string): boolean {
    return !this.cuts.has(`${from}>${host}`);
  }

  #delayMs(): number {
    return this.#random.between(this.faults.delayMsMin, this.faults.delayMsMax);
  }

  #isLost(): boolean {
    return this.faults.lossRate > 0 && this.#random.chance(this.faults.lossRate);
  }

  async #dial(from: string, clock: Clock, endpoint: Endpoint): Promise<Connection> {
    const name = endpoint.kind === "tls" ? endpoint.host : "";
    const unreachable = (): CcError => new CcError("PEER_UNREACHABLE", `${endpoint.url} does not answer`);
    await new Promise<void>((resolve) => clock.after(2 * this.#delayMs(), resolve));
    const host = this.hosts.get(name);
    if (host?.life === undefined || host.identity === undefined || !this.#passes(from, name) || this.#isLost()) {
      // A port that nobody listens on says so at once, everything else is silence.
      if (host === undefined || host.life !== undefined) await new Promise<void>((resolve) => clock.after(CONNECT_MS_MAX, resolve));
      throw unreachable();
    }
    const { life, identity } = host;
    const connection = new SimulatedConnection(name, { peerId: identity.peer, zone: identity.zone }, (head, path, body) => {
      this.#carry(from, name, connection, life, () => {
        const seen: SeenRequest = { host: name, path, head, body, life, fate: "underway" };
        this.onRequest(seen);
        const call = { host: name, path, life, sinceMs: this.#timeline.nowMs };
        this.underway.add(call);
        answer(life, path, head, body, () => (seen.fate = "let in"))
          .finally(() => this.underway.delete(call))
          .then(
            ({ bytes }) => {
              if (seen.fate === "underway") seen.fate = "refused";
              this.#carry(from, name, connection, undefined, () => connection.receive(bytes));
            },
            (error: unknown) => connection.fail(asCcError(error).message),
          );
      });
    });
    this.#open.add(connection);
    connection.onClose = () => this.#open.delete(connection);
    return connection;
  }

  #carry(from: string, host: string, connection: SimulatedConnection, to: Life | undefined, deliver: () => void): void {
    if (this.#isLost()) {
      // TCP gives up some time later, or the client's own limit comes first.
      this.#timeline.after(this.#random.between(200, 4_000), () => connection.fail("connection timed out"));
      return;
    }
    this.#timeline.after(this.#delayMs(), () => {
      if (!this.#passes(from, host)) return;
      if (to === undefined) deliver();
      else to.clock.deliver(deliver);
    });
  }
}

/** What the server answers: authentication, decoding, the handler, and errors as Connect's JSON form has them. */
async function answer(
  life: Life,
  path: string,
  head: string,
  body: Uint8Array,
  onLetIn: () => void,
): Promise<{ readonly status: number; readonly code: string; readonly bytes: Uint8Array }> {
  try {
    const call = path.slice("/cc.v1.Cloud/".length);
    const local = (call.slice(0, 1).toLowerCase() + call.slice(1)) as CloudCall;
    const { input, output } = Cloud.method[local];
    const { signal } = life.gone;
    const caller = isOpenCall(local) ? undefined : await life.core.authenticator.fromUser(call, headersIn(head), body);
    onLetIn();
    const request = decodeBody(input, body);
    const reply = isOpenCall(local) ? await callOpen(life, local, request) : await callSigned(life, local, caller, request, signal);
    return { status: 200, code: "", bytes: response(200, {}, toJsonString(output, create(output, reply as never) as never)) };
  } catch (thrown) {
    const error = asCcError(thrown);
    const { status, headers, body: text } = errorBody(error);
    return { status, code: error.code, bytes: response(status, headers, text) };
  }
}

function callOpen(life: Life, call: OpenCall, request: object): Promise<object> {
  const handler = life.core.open[call] as (request: object, context: object) => Promise<object>;
  return handler(request, { signal: life.gone.signal, remoteAddress: "" });
}

function callSigned(life: Life, call: SignedCall, caller: object | undefined, request: object, signal: AbortSignal): Promise<object> {
  const handler = life.core.signed[call] as (request: object, context: object) => Promise<object>;
  return handler(request, { caller, signal, via: undefined });
}

function headersIn(head: string): { contentDigest: string; signatureInput: string; signature: string } {
  const value = (name: string): string => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1]?.trim() ?? "";
  return { contentDigest: value("content-digest"), signatureInput: value("signature-input"), signature: value("signature") };
}

function response(status: number, headers: Readonly<Record<string, string>>, body: string): Uint8Array {
  const all = { ...headers, "content-length": String(Buffer.byteLength(body)) };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`HTTP/1.1 ${status} x\r\n${lines.join("")}\r\n${body}`);
}

/** The client's end of a connection: whole requests go out, whole answers come in. */
class SimulatedConnection implements Connection {
  readonly host: string;
  readonly peer: Connection["peer"];
  ended = false;
  onClose: () => void = () => undefined;
  readonly #send: (head: string, path: string, body: Uint8Array) => void;
  #listener: ConnectionListener | undefined;

  constructor(host: string, peer: Connection["peer"], send: (head: string, path: string, body: Uint8Array) => void) {
    this.host = host;
    this.peer = peer;
    this.#send = send;
  }

  write(bytes: Uint8Array): boolean {
    const all = Buffer.from(bytes);
    const end = all.indexOf("\r\n\r\n");
    const head = all.toString("latin1", 0, end).replaceAll("\r", "");
    const path = head.split(" ")[1] ?? "";
    this.#send(head, path, new Uint8Array(all.subarray(end + 4)));
    return true;
  }

  receive(bytes: Uint8Array): void {
    if (!this.ended) this.#listener?.data(bytes);
  }

  fail(why: string): void {
    if (this.ended) return;
    this.close();
    this.#listener?.end(new Error(why));
  }

  async drained(): Promise<void> {
    // There is always room.
  }

  listen(listener: ConnectionListener): void {
    this.#listener = listener;
  }

  pause(): void {
    // Answers are small.
  }

  resume(): void {
    // The same.
  }

  close(): void {
    this.ended = true;
    this.onClose();
  }
}
