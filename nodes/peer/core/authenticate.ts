import type { SignedRequest as SignedRequestMessage } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { Caller, RequestHeaders } from "../../../src/api/index.ts";
import { CcError, type MeshId, type PeerId } from "../../../src/base/index.ts";
import {
  type Authority,
  actOf,
  type CheckedRequest,
  checkRequest,
  errorOf,
  type KeptActs,
  nonceRefusal,
  type SignedRequest,
  signedRequestOf,
  type Verifier,
} from "../../../src/identity/index.ts";
import { must } from "../must.ts";
import type { MeshTime } from "./mesh-time.ts";

export type AuthenticatorParts = {
  readonly self: PeerId;
  readonly meshId: MeshId;
  readonly time: Pick<MeshTime, "nowMs" | "startedAtMs" | "untilSure">;
  readonly verifier: Verifier;
  readonly acts: Pick<KeptActs, "take">;
  readonly authority: () => Authority;
};

export type Authenticator = {
  /** A request straight from a user: throws CcError when this host must not act on it. Its nonce is used up by it. */
  fromUser(call: string, headers: RequestHeaders, body: Uint8Array): Promise<Caller>;
  /** A request that `via` passed on for a user who addressed it. `step` and `id`: what this host does with it. */
  passedOn(call: string, request: SignedRequest, via: PeerId, step: string, id: string): Promise<Caller>;
};

/** Checks every request on this host itself, also when another peer has checked it before. */
export function createAuthenticator(parts: AuthenticatorParts): Authenticator {
  const check = (call: string, request: SignedRequest, from: "user" | { readonly addressed: readonly PeerId[] }): CheckedRequest => {
    const { self, meshId, time, verifier } = parts;
    const checked = checkRequest(request, {
      call,
      meshId,
      self,
      from,
      nowMs: time.nowMs(),
      startedAtMs: time.startedAtMs(),
      authority: parts.authority(),
      verifier,
    });
    if (!checked.ok) throw errorOf(checked);
    return checked.value;
  };
  const act = async (checked: CheckedRequest, request: SignedRequest, step: string, id: string): Promise<Caller> => {
    const nowMs = parts.time.nowMs();
    const verdict = await parts.acts.take(actOf(checked, step, id), nowMs);
    if (verdict !== "fresh") throw errorOf(nonceRefusal(verdict, nowMs));
    return callerOf(checked, request);
  };
  const waiting = new Set<string>();
  return {
    fromUser: async (call, headers, body) => {
      const named = { "content-digest": headers.contentDigest, "signature-input": headers.signatureInput, signature: headers.signature };
      if (headers.signatureInput === "")
        throw new CcError("UNAUTHENTICATED", "the request is not signed; `cc sign` shows how, and README has an example with curl");
      const request = must(signedRequestOf(named, body));
      // Its nonce is used up only once the time is sure: whoever plays it back meanwhile must not come first.
      if (waiting.has(request.signature)) throw errorOf(nonceRefusal("seen", parts.time.nowMs()));
      waiting.add(request.signature);
      try {
        await parts.time.untilSure();
        return await act(check(call, request, "user"), request, "user", "");
      } finally {
        waiting.delete(request.signature);
      }
    },
    passedOn: async (call, request, via, step, id) => act(check(call, request, { addressed: [via] }), request, step, id),
  };
}

function callerOf(checked: CheckedRequest, request: SignedRequest): Caller {
  const { keyId, role, isRoot, nonce, createdS } = checked;
  return { keyId, role, isRoot, nonce, createdMs: createdS * 1_000, signed: toMessage(request) };
}

export function toMessage(request: SignedRequest): SignedRequestMessage {
  return { $typeName: "cc.v1.SignedRequest", body: request.body, signatureInput: request.signatureInput, signature: request.signature };
}
