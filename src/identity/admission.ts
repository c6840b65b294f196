import { type InviteId, isInviteId, isName, isPeerId, ok, type PeerId, type Result, refuse } from "../base/index.ts";
import type { HostInvite } from "./admin-requests.ts";
import type { Authority } from "./authority.ts";
import { CERTIFICATE_BYTES_MAX, countersign, encodeCertificate, type HostCertificate, verifyBinding } from "./certificate.ts";
import type { Signer, Verifier } from "./crypto.ts";
import { fromBase64 } from "./encodings.ts";
import type { Chain } from "./key-chains.ts";
import { stands } from "./key-chains.ts";
import { publicKeyOfPeer } from "./peer-ids.ts";
import type { SignedRequest } from "./request-signature.ts";

/** cc.v1.AdmitRequest. `binding` is base64. */
export type AdmissionRequest = { readonly invite: string; readonly peer: string; readonly binding: string; readonly name: string };

/** One host admitted. With it the same certificate can be made again, so nothing else is kept. */
export type InviteUse = {
  readonly inviteId: InviteId;
  readonly peerId: PeerId;
  readonly name: string;
  /** From 1. */
  readonly useNumber: number;
  readonly atMs: number;
};

/** The uses of the invites that this peer issued. */
export interface InviteLedger {
  usesOf(inviteId: InviteId): readonly InviteUse[];
  /** Resolves when the use is fsynced: only then may a countersignature leave this host. */
  record(use: InviteUse): Promise<void>;
}

export type AdmissionContext = {
  readonly self: PeerId;
  /** The mesh's time; a median of measured clocks is no whole number. */
  readonly nowMs: number;
  readonly authority: Authority;
  readonly uses: readonly InviteUse[];
  readonly verifier: Verifier;
};

export type AdmissionDecision = {
  readonly invite: HostInvite;
  readonly chain: readonly SignedRequest[];
  readonly use: InviteUse;
  readonly binding: Uint8Array;
  /** Already recorded: the same peer again, after a lost answer. */
  readonly again: boolean;
};

/** Whether to admit a host, and as which use of its invite. */
function decideAdmission(request: AdmissionRequest, context: AdmissionContext): Result<AdmissionDecision> {
  const { authority, self, nowMs, verifier } = context;
  if (!isInviteId(request.invite)) return refuse("INVITE_INVALID", "the invite's id is not one");
  const invite = authority.invites.get(request.invite);
  if (invite === undefined)
    return refuse("INVITE_INVALID", "this peer knows no such invite, or the key that signed it was revoked; make a new one with cc host invite");
  if (invite.issuer !== self)
    return refuse(
      "INVITE_INVALID",
      `this invite was made at the peer ${invite.issuer}, which alone admits with it; if it is down, make an invite at another peer`,
    );
  const binding = fromBase64(request.binding);
  if (!isPeerId(request.peer) || !publicKeyOfPeer(request.peer).ok || binding === undefined || !verifyBinding(invite, request.peer, binding, verifier)) {
    return refuse("INVITE_INVALID", "the request to join is not signed with the invite's key");
  }
  if (request.name !== "" && !isName(request.name)) return refuse("BAD_REQUEST", "a host's name has small letters, digits and hyphens, at most 63");
  if (authority.removals.has(request.peer))
    return refuse("NOT_A_MEMBER", "this host was removed from the mesh, which is final; give it a new identity (an empty data folder) and a new invite");
  const chain = chainTo(invite, authority);
  if (chain === undefined) return refuse("INVITE_INVALID", "the key that signed this invite was revoked; make a new one with cc host invite");
  const before = context.uses.find((use) => use.peerId === request.peer);
  // Also when the invite is over by now: what was answered once is answered again.
  if (before !== undefined) return ok({ invite, chain, use: before, binding, again: true });
  if (nowMs > invite.expiresAtMs)
    return refuse("INVITE_EXPIRED", `this invite was over at ${new Date(invite.expiresAtMs).toISOString()}; make a new one with cc host invite`);
  // Numbers once given are never given again, even if the ledger has holes.
  const useNumber = 1 + Math.max(0, ...context.uses.map((use) => use.useNumber));
  if (useNumber > invite.uses || context.uses.length >= invite.uses)
    return refuse("INVITE_USED_UP", `this invite was for ${invite.uses === 1 ? "one host" : `${invite.uses} hosts`}; make a new one with cc host invite`);
  return ok({
    invite,
    chain,
    use: { inviteId: invite.inviteId, peerId: request.peer, name: request.name, useNumber, atMs: Math.floor(nowMs) },
    binding,
    again: false,
  });
}

/** One admission at a time: two joiners at once must not become the same use. */
export class Admissions {
  readonly #parts: {
    readonly self: PeerId;
    readonly signer: Pick<Signer, "sign">;
    readonly rootPublicKey: Uint8Array;
    readonly ledger: InviteLedger;
    readonly verifier: Verifier;
  };
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(parts: {
    readonly self: PeerId;
    readonly signer: Pick<Signer, "sign">;
    readonly rootPublicKey: Uint8Array;
    readonly ledger: InviteLedger;
    readonly verifier: Verifier;
  }) {
    this.#parts = parts;
  }

  /** `now` gives authority and time when it is this request's turn. */
  admit(request: AdmissionRequest, now: () => { readonly authority: Authority; readonly nowMs: number }): Promise<Result<HostCertificate>> {
    if (this.#waiting >= WAITING_MAX) return Promise.resolve(refuse("RATE_LIMITED", "many hosts want to join at once; try again in a few seconds"));
    this.#waiting += 1;
    const turn = this.#last.then(() => this.#admit(request, now()));
    const done = (): void => {
      this.#waiting -= 1;
    };
    // The next turn comes either way; a fault of this one is its caller's.
    this.#last = turn.then(done, done);
    return turn;
  }

  async #admit(request: AdmissionRequest, { authority, nowMs }: { readonly authority: Authority; readonly nowMs: number }): Promise<Result<HostCertificate>> {
    const { self, signer, rootPublicKey, ledger, verifier } = this.#parts;
    const uses = isInviteId(request.invite) ? ledger.usesOf(request.invite) : [];
    const decision = decideAdmission(request, { self, nowMs, authority, uses, verifier });
    if (!decision.ok) return decision;
    const { invite, chain, use, binding, again } = decision.value;
    const certificate = countersign(signer, { rootPublicKey, chain, invite: invite.request, peerId: use.peerId, name: use.name, binding }, invite, use);
    if (encodeCertificate(certificate).length > CERTIFICATE_BYTES_MAX)
      return refuse("TOO_LARGE", "the chain of keys above this invite is too long for a certificate; let an admin nearer to the root make the invite");
    if (!again) await ledger.record(use);
    return ok(certificate);
  }
}

/** Joiners in line, each a few milliseconds of disk. */
const WAITING_MAX = 64;

/** The grants from the root down to the key that signed the invite, on the shortest way on which the invite stands. */
function chainTo(invite: HostInvite, authority: Authority): readonly SignedRequest[] | undefined {
  const fact = { fact: invite, stamp: authority.stamps.get(invite.recordKey) };
  const [way] = (authority.chains.get(invite.parameters.keyId) ?? []).filter((chain) => stands(chain, fact)).sort((a, b) => a.depth - b.depth);
  if (way === undefined) return undefined;
  const requests: SignedRequest[] = [];
  for (let link: Chain | undefined = way; link?.grant !== undefined; link = link.parent) requests.unshift(link.grant.fact.request);
  return requests;
}
