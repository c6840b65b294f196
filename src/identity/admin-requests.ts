import {
  base32,
  type InviteId,
  isInviteId,
  isKeyId,
  isName,
  isPeerId,
  isZone,
  type KeyId,
  ok,
  type PeerId,
  type RecordKey,
  type Result,
  refuse,
  type Zone,
} from "../base/index.ts";
import { keyIdOf } from "./access.ts";
import { PUBLIC_KEY_BYTES, sha256 } from "./crypto.ts";
import { fromBase64Url } from "./encodings.ts";
import { type RequestParameters, requestParameters, type SignedRequest } from "./request-signature.ts";
import { type Field, flagIn, messageIn, numberIn, readBody, textIn, textsIn, type Values } from "./signed-body.ts";

export type Role = "viewer" | "operator" | "admin";

/** Whom a signed body speaks to: cc.v1.Addressing. */
export type Addressing = { readonly call: string; readonly mesh: string; readonly peer: string };

/** What every admin/ record is read from. The signature is not checked by reading. */
export type AdminRequestBase = {
  readonly request: SignedRequest;
  readonly to: Addressing;
  readonly parameters: RequestParameters;
  /** The one record that this request can be: its id contains the hash of what was signed, so that nobody writes over another's. */
  readonly recordKey: RecordKey;
};

export type KeyGrant = AdminRequestBase & {
  readonly kind: "key";
  readonly keyId: KeyId;
  readonly publicKey: Uint8Array;
  readonly role: Role;
  readonly name: string;
};
export type KeyRevocation = AdminRequestBase & {
  readonly kind: "revocation";
  readonly target: KeyId;
  /** Record keys of admin/ records that the revoked key signed and that stay. */
  readonly keep: ReadonlySet<string>;
  /** What was stamped before the revocation stays too. */
  readonly keepAll: boolean;
};
export type HostInvite = AdminRequestBase & {
  readonly kind: "invite";
  readonly inviteId: InviteId;
  readonly publicKey: Uint8Array;
  readonly zone: Zone;
  readonly uses: number;
  /** By the signed time; counts when a host is admitted, not afterwards. */
  readonly expiresAtMs: number;
  /** The addressed peer: it alone countersigns. */
  readonly issuer: PeerId;
};
export type HostRemoval = AdminRequestBase & {
  readonly kind: "removal";
  readonly host: PeerId;
  readonly force: boolean;
  /** The last version of its host/ records that counts; undefined: the remover named none. */
  readonly countsTo: { readonly major: number; readonly minor: number } | undefined;
  readonly certificatesKept: ReadonlySet<string>;
  readonly allCertificates: boolean;
  readonly heir: PeerId | undefined;
};
export type AdminRequest = KeyGrant | KeyRevocation | HostInvite | HostRemoval;

const TOKEN_CHARACTERS_MAX = 128;
const INVITE_USES_MAX = 1_000;
/** A year: an invite is a password in a chat window. */
const INVITE_VALID_MS_MAX = 366 * 86_400_000;

const TO: Field = {
  number: 1,
  name: "to",
  kind: "message",
  fields: [
    { number: 1, name: "call", kind: "string" },
    { number: 2, name: "mesh", kind: "string" },
    { number: 3, name: "peer", kind: "string" },
  ],
};
const TOKEN: Field = { number: 2, name: "token", kind: "string" };

/** Field numbers of cloud.proto; a test compares them with the generated contract. */
export const ADMIN_FIELDS: Readonly<Record<string, readonly Field[]>> = {
  CreateKey: [
    TO,
    TOKEN,
    { number: 3, name: "public_key", kind: "string" },
    { number: 4, name: "role", kind: "string" },
    { number: 5, name: "name", kind: "string" },
  ],
  RevokeKey: [
    TO,
    TOKEN,
    { number: 3, name: "key", kind: "string" },
    { number: 4, name: "keep", kind: "string", repeated: true },
    { number: 5, name: "keep_all", kind: "bool" },
  ],
  CreateInvite: [
    TO,
    TOKEN,
    { number: 3, name: "zone", kind: "string" },
    { number: 4, name: "uses", kind: "uint32" },
    { number: 5, name: "valid_for_ms", kind: "double" },
    { number: 6, name: "public_key", kind: "string" },
  ],
  RemoveHost: [
    TO,
    TOKEN,
    { number: 3, name: "host", kind: "string" },
    { number: 4, name: "force", kind: "bool" },
    { number: 5, name: "counts_to_major", kind: "double" },
    { number: 6, name: "counts_to_minor", kind: "double" },
    { number: 7, name: "certificates_kept", kind: "string", repeated: true },
    { number: 8, name: "all_certificates", kind: "bool" },
    { number: 9, name: "heir", kind: "string" },
  ],
};

/** Whom the body of any call speaks to. */
export function readAddressing(body: Uint8Array): Result<Addressing> {
  const values = readBody(body, [TO]);
  return values.ok ? ok(addressingIn(values.value)) : values;
}

/** What identifies a signed request, whoever carries it: SHA-256 over what was signed (not the signature, which its signer could vary). */
export function requestHash(request: SignedRequest): Uint8Array {
  return sha256(`cc-request-1\n${request.signatureInput}\n`, sha256(request.body));
}

/** `i` and 100 bits of a hash of who asks and its token: cc knows the id before any peer answers. */
export function inviteIdOf(keyId: KeyId, token: string): InviteId {
  const id = `i${base32(sha256(`cc-invite-1\n${keyId}\n${token}`)).slice(0, 20)}`;
  if (!isInviteId(id)) throw new TypeError("an invite's id is not one");
  return id;
}

/** A request object never changes: who may what is worked out again with every admin/ record, from what was read before. */
const parsed = new WeakMap<SignedRequest, Result<AdminRequest>>();

/** Reads a request of one of the calls that make admin/ records. */
export function parseAdminRequest(request: SignedRequest): Result<AdminRequest> {
  const known = parsed.get(request) ?? parseAnew(request);
  parsed.set(request, known);
  return known;
}

function parseAnew(request: SignedRequest): Result<AdminRequest> {
  const parameters = requestParameters(request.signatureInput);
  if (!parameters.ok) return parameters;
  const addressing = readAddressing(request.body);
  if (!addressing.ok) return addressing;
  const { call } = addressing.value;
  const fields = Object.hasOwn(ADMIN_FIELDS, call) ? ADMIN_FIELDS[call] : undefined;
  if (fields === undefined) return refuse("BAD_REQUEST", `"${call.slice(0, 32)}" is not a call that makes an admin record`);
  const body = readBody(request.body, fields);
  if (!body.ok) return body;
  const base: Base = (kind, subject) => ({
    request,
    to: addressing.value,
    parameters: parameters.value,
    recordKey: `admin/-/${kind}/${subject}-${base32(requestHash(request)).slice(0, 20)}` as RecordKey,
  });
  const token = textIn(body.value, "token");
  if (token === "" || token.length > TOKEN_CHARACTERS_MAX) return refuse("BAD_REQUEST", `the request needs a token of 1 to ${TOKEN_CHARACTERS_MAX} characters`);
  if (call === "CreateKey") return readGrant(body.value, base);
  if (call === "RevokeKey") return readRevocation(body.value, base);
  if (call === "RemoveHost") return readRemoval(body.value, base);
  const { peer } = addressing.value;
  const { keyId, createdS } = parameters.value;
  if (!isPeerId(peer)) return refuse("BAD_REQUEST", "an invite has to name the peer that issues it");
  return readInvite(body.value, base, { inviteId: inviteIdOf(keyId, token), issuer: peer, createdMs: createdS * 1000 });
}

type Base = (kind: string, subject: string) => AdminRequestBase;

function readGrant(body: Values, base: Base): Result<KeyGrant> {
  const publicKey = fromBase64Url(textIn(body, "public_key"));
  const role = textIn(body, "role");
  const name = textIn(body, "name");
  if (publicKey?.length !== PUBLIC_KEY_BYTES) return refuse("BAD_REQUEST", "the public key is not the base64url of 32 bytes");
  if (role !== "viewer" && role !== "operator" && role !== "admin") return refuse("BAD_REQUEST", "the role has to be viewer, operator or admin");
  if (name !== "" && !isName(name)) return refuse("BAD_REQUEST", "a key's name has small letters, digits and hyphens, at most 63");
  const keyId = keyIdOf(publicKey);
  return ok({ ...base("key", keyId), kind: "key", keyId, publicKey, role, name });
}

function readRevocation(body: Values, base: Base): Result<KeyRevocation> {
  const target = textIn(body, "key");
  if (!isKeyId(target)) return refuse("BAD_REQUEST", "the key to be revoked is not a key id (k and 20 letters)");
  return ok({ ...base("revocation", target), kind: "revocation", target, keep: new Set(textsIn(body, "keep")), keepAll: flagIn(body, "keep_all") });
}

function readInvite(body: Values, base: Base, given: { readonly inviteId: InviteId; readonly issuer: PeerId; readonly createdMs: number }): Result<HostInvite> {
  const publicKey = fromBase64Url(textIn(body, "public_key"));
  const zone = textIn(body, "zone");
  const uses = numberIn(body, "uses");
  const validForMs = numberIn(body, "valid_for_ms");
  if (publicKey?.length !== PUBLIC_KEY_BYTES) return refuse("BAD_REQUEST", "the invite's public key is not the base64url of 32 bytes");
  if (!isZone(zone)) return refuse("BAD_REQUEST", "the zone's name has small letters, digits and hyphens, at most 32");
  if (uses < 1 || uses > INVITE_USES_MAX) return refuse("BAD_REQUEST", `an invite is for 1 to ${INVITE_USES_MAX} hosts`);
  if (!(validForMs >= 1 && validForMs <= INVITE_VALID_MS_MAX)) return refuse("BAD_REQUEST", "an invite is valid for a year at most");
  const { inviteId, issuer, createdMs } = given;
  return ok({ ...base("invite", inviteId), kind: "invite", inviteId, publicKey, zone, uses, expiresAtMs: createdMs + Math.floor(validForMs), issuer });
}

function readRemoval(body: Values, base: Base): Result<HostRemoval> {
  const host = textIn(body, "host");
  const heir = textIn(body, "heir");
  const major = numberIn(body, "counts_to_major");
  const minor = numberIn(body, "counts_to_minor");
  if (!isPeerId(host)) return refuse("BAD_REQUEST", "the host to be removed is not a peer id");
  if (heir !== "" && (!isPeerId(heir) || heir === host)) return refuse("BAD_REQUEST", "the heir has to be another host's peer id");
  if (!Number.isSafeInteger(major) || !Number.isSafeInteger(minor) || major < 0 || minor < 0)
    return refuse("BAD_REQUEST", "the last version that counts has to be two whole numbers");
  return ok({
    ...base("removal", host),
    kind: "removal",
    host,
    force: flagIn(body, "force"),
    countsTo: major === 0 && minor === 0 ? undefined : { major, minor },
    certificatesKept: new Set(textsIn(body, "certificates_kept")),
    allCertificates: flagIn(body, "all_certificates"),
    heir: heir !== "" && isPeerId(heir) ? heir : undefined,
  });
}

function addressingIn(values: Values): Addressing {
  const to = messageIn(values, "to");
  return { call: textIn(to, "call"), mesh: textIn(to, "mesh"), peer: textIn(to, "peer") };
}
