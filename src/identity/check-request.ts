import { CcError, isPeerId, type KeyId, type MeshId, type PeerId, type Refusal, refuse } from "../base/index.ts";
import { parseAdminRequest, type Role, readAddressing } from "./admin-requests.ts";
import type { Authority, KeyStanding } from "./authority.ts";
import type { Verifier } from "./crypto.ts";
import type { Act, NonceVerdict } from "./nonces.ts";
import { requestParameters, type SignedRequest, verifyRequest } from "./request-signature.ts";
import { roleAllows, roleNeeded } from "./roles.ts";
import { SIGNED_TIME_WINDOW_MS } from "./stamps.ts";

/** Who asks, as this host itself found. */
export type CheckedRequest = {
  readonly keyId: KeyId;
  readonly role: Role;
  readonly isRoot: boolean;
  /** The key's name. */
  readonly name: string;
  readonly call: string;
  /** The peer that the user spoke to: this one, or one that passed the request on. */
  readonly addressed: PeerId;
  readonly createdS: number;
  readonly nonce: string;
};

/** `details` are for programs: with CLOCK_SKEW `timeMs`, this peer's time, and `notBeforeS`, the least signed time that it takes. */
export type RequestRefusal = Refusal & { readonly details?: Readonly<Record<string, string>> };
export type RequestCheck = { readonly ok: true; readonly value: CheckedRequest } | RequestRefusal;

export type RequestContext = {
  readonly call: string;
  readonly meshId: MeshId;
  readonly self: PeerId;
  /**
   * "user": straight from a user, has to address this peer. Otherwise the peers that may have taken it in and passed it on:
   * a call that is passed on names its caller; an award may come through a third.
   */
  readonly from: "user" | { readonly addressed: readonly PeerId[] | "any" };
  /** Wall clock. */
  readonly nowMs: number;
  /** Wall clock when this peer started: nonces from before are not known any more. */
  readonly startedAtMs: number;
  readonly authority: Authority;
  readonly verifier: Verifier;
};

/**
 * The whole decision on a signed request, but for its nonce: pure, so that it may be asked twice. The order matters: who
 * holds no key learns only that.
 */
export function checkRequest(request: SignedRequest, context: RequestContext): RequestCheck {
  const parameters = requestParameters(request.signatureInput);
  if (!parameters.ok) return parameters;
  const { keyId, createdS, nonce } = parameters.value;
  const key = context.authority.keys.get(keyId);
  if (key === undefined || key.state === "void") {
    return refuse("UNAUTHENTICATED", `no key ${keyId} is known at this peer; was it just made elsewhere, or is the access token of another mesh?`);
  }
  if (!verifyRequest(request, key.publicKey, context.verifier)) {
    return refuse("UNAUTHENTICATED", "the signature does not hold: the secret key is not the access token's, or the request was changed on the way");
  }
  if (key.state === "revoked") return refuse("KEY_REVOKED", `the key ${keyId} was revoked; ask an admin for a new one`);
  const address = checkAddress(request, context);
  if ("ok" in address) return address;
  const untimely = checkTime(createdS, context);
  if (untimely !== undefined) return untimely;
  if (!roleAllows(key.role, context.call) && !revokesItself(request, keyId)) {
    return refuse("FORBIDDEN", `the key ${nameOf(key)} is a ${key.role}'s; ${context.call} needs the role ${roleNeeded(context.call)}`);
  }
  return { ok: true, value: { keyId, role: key.role, isRoot: key.isRoot, name: key.name, call: context.call, addressed: address.addressed, createdS, nonce } };
}

/** The act to be remembered before anything is done. `id` is empty for a user's own call, which is one act. */
export function actOf(checked: CheckedRequest, step: string, id = ""): Act {
  return { keyId: checked.keyId, nonce: checked.nonce, createdS: checked.createdS, step, id };
}

/** What a nonce that is not fresh means to a user. */
export function nonceRefusal(verdict: Exclude<NonceVerdict, "fresh">, nowMs: number): RequestRefusal {
  switch (verdict) {
    case "seen":
      return refuse("REPLAYED", "this request was made before: a retry has to be signed anew, with the same token in its body");
    case "full":
      return refuse("RATE_LIMITED", "this peer has taken more requests in the last minutes than it can remember; try again in a minute, or another peer");
    case "forgotten":
      return skew("the request was signed at a time that this peer no longer remembers; sign it again", nowMs);
  }
}

/** A refusal as it crosses the wire. */
export function errorOf(refusal: RequestRefusal): CcError {
  return new CcError(refusal.code, refusal.message, refusal.details === undefined ? {} : { details: { ...refusal.details } });
}

function checkAddress(request: SignedRequest, { call, meshId, self, from }: RequestContext): { readonly addressed: PeerId } | Refusal {
  const to = readAddressing(request.body);
  if (!to.ok) return to;
  if (to.value.mesh !== meshId) return refuse("WRONG_MESH", `the request speaks to another mesh; this peer's is ${meshId}`);
  if (to.value.call !== call) return refuse("UNAUTHENTICATED", `the request was signed as another call than ${call}`);
  const { peer } = to.value;
  if (!isPeerId(peer)) return refuse("WRONG_PEER", `the request has to name the peer that it is sent to, ${self}`);
  if (from === "user" && peer !== self) return refuse("WRONG_PEER", `the request speaks to the peer ${peer}, and this is ${self}`);
  if (from !== "user" && from.addressed !== "any" && !from.addressed.includes(peer))
    return refuse("WRONG_PEER", "the request was passed on by a peer that it does not address");
  return { addressed: peer };
}

function checkTime(createdS: number, { nowMs, startedAtMs }: RequestContext): RequestRefusal | undefined {
  const createdMs = createdS * 1000;
  if (Math.abs(nowMs - createdMs) > SIGNED_TIME_WINDOW_MS)
    return skew("the request was signed more than 5 minutes from this peer's time: set this machine's clock, or the peer's", nowMs);
  // The signed time is in whole seconds: in the second of the start it could be from before.
  const notBeforeS = Math.ceil(startedAtMs / 1000);
  if (createdS >= notBeforeS) return undefined;
  return {
    ...skew("the request was signed before this peer started, so it cannot know whether it was made before; sign it again", nowMs),
    details: { timeMs: String(nowMs), notBeforeS: String(notBeforeS) },
  };
}

function skew(message: string, nowMs: number): RequestRefusal {
  return { ...refuse("CLOCK_SKEW", message), details: { timeMs: String(nowMs) } };
}

/** Whoever lost a key may end it, whatever its role. */
function revokesItself(request: SignedRequest, keyId: KeyId): boolean {
  const parsed = parseAdminRequest(request);
  return parsed.ok && parsed.value.kind === "revocation" && parsed.value.target === keyId;
}

function nameOf(key: KeyStanding): string {
  return key.name === "" ? key.keyId : `"${key.name}"`;
}
