import { create, toBinary } from "@bufbuild/protobuf";
import { type RecordFrame, RecordFrameSchema, RecordPayloadSchema, StampedRequestSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../../src/base/index.ts";
import { base64Url, type SignedRequest, signRequest } from "../../src/identity/index.ts";
import type { SimulatedHost } from "./host.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

export const VERSION_MAX = Number.MAX_SAFE_INTEGER;

/** What a stolen host can make with the one key that it has. */
export class Forger {
  readonly #world: World;
  readonly #host: SimulatedHost;
  readonly #random: SeededRandom;

  constructor(world: World, host: SimulatedHost, random: SeededRandom) {
    this.#world = world;
    this.#host = host;
    this.#random = random;
  }

  /** Any bytes under any name, signed with the one key that it has. */
  forge(key: string, content: Uint8Array, options: { final?: boolean; writer?: PeerId; major?: number; minor?: number } = {}): RecordFrame {
    const { final = false, writer = this.#host.peer, major = this.#random.pick([VERSION_MAX, this.#host.time.wallMs, 1]) ?? 1, minor = 0 } = options;
    const payload = toBinary(
      RecordPayloadSchema,
      create(RecordPayloadSchema, { key, versionMajor: BigInt(Math.floor(major)), versionMinor: BigInt(minor), final, writer, content }),
    );
    const signature = this.sign(Buffer.concat([Buffer.from("cc-record-1\n"), payload]));
    return create(RecordFrameSchema, { frame: 1, payload, signature });
  }

  sign(message: Uint8Array): Uint8Array {
    if (this.#host.identity === undefined) throw new TypeError("the liar is nobody");
    return this.#host.identity.signer.sign(message);
  }

  /** A request as if by another's key, signed with its own. */
  request(call: string, fields: object, keyId: string): SignedRequest {
    const body = Buffer.from(
      JSON.stringify({ to: { call, mesh: this.#world.meshId, peer: this.#host.peer }, token: base64Url(this.#random.bytes(12)), ...fields }),
    );
    const signer = this.#host.identity?.signer;
    if (signer === undefined) throw new TypeError("the liar is nobody");
    return signRequest({ body, keyId: keyId as never, signer, createdS: Math.floor(this.#host.time.wallMs / 1_000), nonce: base64Url(this.#random.bytes(16)) });
  }

  stamped(key: string, request: SignedRequest, final: boolean): RecordFrame {
    const { body, signatureInput, signature } = request;
    const content = toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: { body, signatureInput, signature } }));
    return this.forge(key, content, { final, major: this.#host.time.wallMs + (this.#random.pick([0, 30_000, -30_000]) ?? 0) });
  }
}
