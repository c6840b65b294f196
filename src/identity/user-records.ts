import type { KeyId } from "../base/index.ts";
import type { Role } from "./admin-requests.ts";
import type { Authority } from "./authority.ts";
import type { Verifier } from "./crypto.ts";
import { type SignedRequest, verifyRequest } from "./request-signature.ts";
import { compareRoles, roleAllows } from "./roles.ts";
import { isBefore, readStamped, type Stamp } from "./stamps.ts";

/**
 * counts; waits: its key is not known here yet, and may come with the next admin/ records; void: it counts for nobody,
 * whatever comes (but a revocation that turns out void itself).
 */
export type UserRecordStanding =
  | { readonly standing: "counts"; readonly keyId: KeyId; readonly role: Role; readonly call: string }
  | { readonly standing: "waits"; readonly keyId: KeyId }
  | { readonly standing: "void"; readonly reason: string };

/**
 * Whether a user/ record counts: a user signed it, the peer that it addresses stamped it in time, and the key was not ended
 * at that moment. What an ended key asked for before stays (revoking a key deletes nothing), also where it ended because a
 * key above it did.
 */
export function userRecordCounts(authority: Authority, request: SignedRequest, stamp: Stamp, verifier: Verifier): UserRecordStanding {
  const read = readStamped(request, stamp, authority.meshId);
  if (!read.ok) return { standing: "void", reason: read.message };
  const { to, parameters } = read.value;
  const ways = authority.chains.get(parameters.keyId);
  const key = ways?.[0];
  if (ways === undefined || key === undefined) return { standing: "waits", keyId: parameters.keyId };
  if (!verifyRequest(request, key.publicKey, verifier)) return { standing: "void", reason: "the signature is not the key's" };
  const roles = ways.filter((way) => isBefore(stamp, way.endsAt)).map((way) => way.role);
  const [role] = roles.sort((a, b) => compareRoles(b, a));
  if (role === undefined) return { standing: "void", reason: "the key was revoked before it was stamped" };
  if (!roleAllows(role, to.call)) return { standing: "void", reason: `the key's role, ${role}, does not allow ${to.call}` };
  return { standing: "counts", keyId: parameters.keyId, role, call: to.call };
}
