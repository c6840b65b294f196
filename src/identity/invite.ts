import { type InviteId, isInviteId, isMeshId, isPeerId, isZone, type MeshId, ok, type PeerId, type Result, refuse, type Zone } from "../base/index.ts";
import { SEED_BYTES } from "./crypto.ts";
import { base64Url, fromBase64Url } from "./encodings.ts";

/** What a joining host needs, in one line to copy. Whoever has it may join as often as the invite says: a password. */
export type Invite = {
  readonly meshId: MeshId;
  readonly inviteId: InviteId;
  readonly zone: Zone;
  /** Private half of the invite's key: the joiner binds its own peer id with it. */
  readonly seed: Uint8Array;
  /** The one peer that can admit with it. */
  readonly issuer: PeerId;
  /** `https://host:port` of the issuer. */
  readonly endpoints: readonly string[];
  /** libp2p addresses of the issuer and of others, for finding peers after admission. */
  readonly addresses: readonly string[];
  readonly expiresAtMs: number;
};

const PREFIX = "cci_";
const VERSION = 1;
export const INVITE_ADDRESSES_MAX = 16;
const ADDRESS_CHARACTERS_MAX = 256;
const INVITE_CHARACTERS_MAX = 16 * 1024;

export function encodeInvite(invite: Invite): string {
  const json = {
    v: VERSION,
    mesh: invite.meshId,
    id: invite.inviteId,
    zone: invite.zone,
    key: base64Url(invite.seed),
    issuer: invite.issuer,
    endpoints: invite.endpoints.slice(0, INVITE_ADDRESSES_MAX),
    addresses: invite.addresses.slice(0, INVITE_ADDRESSES_MAX),
    until: invite.expiresAtMs,
  };
  return PREFIX + base64Url(Buffer.from(JSON.stringify(json)));
}

/** Refusals never repeat the text: it is a secret. White space inside, as a terminal's line breaks leave it, is forgiven. */
export function decodeInvite(text: string): Result<Invite> {
  const broken = refuse(
    "INVITE_INVALID",
    "this is not an invite: it begins with cci_ and is one long line, as cc host invite prints it; was it cut while copying?",
  );
  const line = text.length > INVITE_CHARACTERS_MAX ? "" : text.replaceAll(/\s/g, "");
  const bytes = line.startsWith(PREFIX) ? fromBase64Url(line.slice(PREFIX.length)) : undefined;
  const fields = bytes === undefined ? undefined : objectIn(bytes);
  if (fields === undefined) return broken;
  const version = fields.get("v");
  if (typeof version === "number" && version > VERSION)
    return refuse("INVITE_INVALID", "this invite was made by a newer version of cc; update this host's cc-peer");
  const meshId = textIn(fields, "mesh");
  const inviteId = textIn(fields, "id");
  const zone = textIn(fields, "zone");
  const issuer = textIn(fields, "issuer");
  const seed = fromBase64Url(textIn(fields, "key"));
  const endpoints = addressesIn(fields, "endpoints");
  const addresses = addressesIn(fields, "addresses");
  const until = fields.get("until");
  if (version !== VERSION || !isMeshId(meshId) || !isInviteId(inviteId) || !isZone(zone) || !isPeerId(issuer) || seed?.length !== SEED_BYTES) return broken;
  if (endpoints === undefined || addresses === undefined || typeof until !== "number" || !Number.isSafeInteger(until) || until < 0) return broken;
  if (!endpoints.every((endpoint) => endpoint.startsWith("https://") && URL.canParse(endpoint))) return broken;
  return ok({ meshId, inviteId, zone, seed, issuer, endpoints, addresses, expiresAtMs: until });
}

function objectIn(bytes: Uint8Array): ReadonlyMap<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    return typeof json === "object" && json !== null && !Array.isArray(json) ? new Map(Object.entries(json)) : undefined;
  } catch {
    return undefined; // Not JSON: no invite.
  }
}

function textIn(fields: ReadonlyMap<string, unknown>, name: string): string {
  const value = fields.get(name);
  return typeof value === "string" ? value : "";
}

function addressesIn(fields: ReadonlyMap<string, unknown>, name: string): readonly string[] | undefined {
  const value: unknown = fields.get(name);
  if (!Array.isArray(value) || value.length > INVITE_ADDRESSES_MAX) return undefined;
  return value.every((item) => typeof item === "string" && item.length <= ADDRESS_CHARACTERS_MAX) ? value : undefined;
}
