import { type CloudClient, createCloudClient } from "../../src/api/client.ts";
import { parseEndpoints } from "../../src/api/client-connection.ts";
import type { ReplyOf, RequestOf, SignedCall, Written } from "../../src/api/client-messages.ts";
import { asCcError, type ContainerId, type ErrorCode, type KeyId, type MeshId } from "../../src/base/index.ts";
import { type Role, requestHeaders, type Signer, signRequest } from "../../src/identity/index.ts";
import { containerIdOf } from "../../src/placement/index.ts";
import { must } from "../peer/must.ts";
import type { ApiNetwork } from "./api.ts";
import type { SeededRandom } from "./random.ts";
import { HostClock, MachineTime, type Timeline } from "./timeline.ts";

/** One thing that a user asked for, and what came of it. */
export type Ask = {
  readonly user: User;
  readonly call: SignedCall;
  readonly request: object;
  readonly endpoints: readonly string[];
  readonly token: string;
  /** Of a Run: the container that it would be. */
  readonly id: ContainerId | undefined;
  readonly startedAtMs: number;
  endedAtMs: number | undefined;
  outcome: "pending" | "done" | ErrorCode;
  message: string;
  reply: object | undefined;
};

export type UserParts = {
  readonly name: string;
  readonly keyId: KeyId;
  readonly signer: Signer;
  readonly role: Role;
  readonly meshId: MeshId;
  readonly timeline: Timeline;
  readonly api: ApiNetwork;
  readonly random: SeededRandom;
  readonly onAsk: (ask: Ask) => void;
  readonly onEnd: (ask: Ask) => void;
};

const SEEN_MAX = 32;

/** Somebody with a key and the real light client: retries, next endpoints and its own last writes as in `cc`. */
export class User {
  readonly name: string;
  readonly keyId: KeyId;
  readonly signer: Signer;
  readonly role: Role;
  readonly time: MachineTime;
  readonly clock: HostClock;
  readonly #parts: UserParts;
  #seen: Written[] = [];

  constructor(parts: UserParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.keyId = parts.keyId;
    this.signer = parts.signer;
    this.role = parts.role;
    this.time = new MachineTime(parts.timeline, parts.random.below(1_000_000));
    this.clock = new HostClock(parts.timeline, this.time);
  }

  get seen(): readonly Written[] {
    return this.#seen;
  }

  newToken(): string {
    return Buffer.from(this.#parts.random.bytes(18)).toString("base64url");
  }

  /** A client as one run of `cc` has it; endpoints are tried in this order. */
  client(endpoints: readonly string[]): CloudClient {
    const { api, random, meshId } = this.#parts;
    return createCloudClient(
      {
        dialer: api.dialerOf(this.name, this.clock),
        clock: this.clock,
        random,
        seen: () => this.#seen,
        wrote: (written) => {
          this.#seen = [...this.#seen, ...written].slice(-SEEN_MAX);
        },
        warn: () => undefined,
      },
      {
        endpoints: must(parseEndpoints(endpoints.join(","))),
        mesh: meshId,
        sign: ({ body, createdS, nonce }) => requestHeaders(signRequest({ body, keyId: this.keyId, signer: this.signer, createdS, nonce })),
      },
    );
  }

  /** One call, recorded. Never rejects: `outcome` says how it ended. `token`: of an earlier ask, to retry it by hand. */
  async ask<C extends SignedCall>(
    endpoints: readonly string[],
    call: C,
    request: RequestOf<C>,
    token = this.newToken(),
  ): Promise<Ask & { readonly reply: ReplyOf<C> | undefined }> {
    const { timeline, onAsk, onEnd } = this.#parts;
    const id = call === "Run" ? containerIdOf(this.keyId, token) : undefined;
    const ask: Ask = {
      user: this,
      call,
      request,
      endpoints,
      token,
      id,
      startedAtMs: timeline.nowMs,
      endedAtMs: undefined,
      outcome: "pending",
      message: "",
      reply: undefined,
    };
    onAsk(ask);
    const client = this.client(endpoints);
    try {
      ask.reply = await client.call(call, { ...request, ...(isWrite(call) ? { token } : {}) });
      ask.outcome = "done";
    } catch (thrown) {
      const { code, message } = asCcError(thrown);
      ask.outcome = code;
      ask.message = message;
    } finally {
      client.close();
    }
    ask.endedAtMs = timeline.nowMs;
    onEnd(ask);
    return ask as Ask & { readonly reply: ReplyOf<C> | undefined };
  }
}

const READS: ReadonlySet<string> = new Set([
  "WhoAmI",
  "ListContainers",
  "ContainerStatus",
  "ListVolumes",
  "InspectVolumes",
  "Resolve",
  "ListHosts",
  "ListKeys",
  "Inspect",
  "Wait",
]);
const isWrite = (call: SignedCall): boolean => !READS.has(call);
