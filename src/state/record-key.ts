import { isPeerId, isZone, type PeerId, type RecordKey, type Zone } from "../base/index.ts";

/** A key taken apart. `zone` is undefined where the key says `-`: for all zones. */
export type KeyParts =
  | { readonly family: "admin" | "user"; readonly zone: Zone | undefined; readonly kind: string; readonly id: string }
  | { readonly family: "host"; readonly peer: PeerId; readonly zone: Zone; readonly kind: string; readonly id: string };

/** Frozen with frame version 1, as are both patterns: a key that another version could take apart differently has no owner. */
const KEY_BYTES_MAX = 256;
const KIND = /^[a-z][a-z0-9-]{0,31}$/;
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Undefined for anything but `admin|user/<zone or ->/<kind>/<id>` and `host/<peer>/<zone>/<kind>/<id>`. */
export function parseRecordKey(text: string): KeyParts | undefined {
  if (text.length > KEY_BYTES_MAX) return undefined;
  const parts = text.split("/");
  const [family, ...rest] = parts;
  if (family === "host" && rest.length === 4) {
    const [peer = "", zone = "", kind = "", id = ""] = rest;
    return isPeerId(peer) && isZone(zone) && KIND.test(kind) && ID.test(id) ? { family, peer, zone, kind, id } : undefined;
  }
  if ((family !== "admin" && family !== "user") || rest.length !== 3) return undefined;
  const [zone = "", kind = "", id = ""] = rest;
  if (!(zone === "-" || isZone(zone)) || !KIND.test(kind) || !ID.test(id)) return undefined;
  return { family, zone: zone === "-" ? undefined : zone, kind, id };
}

export function isRecordKey(text: string): text is RecordKey {
  return parseRecordKey(text) !== undefined;
}

export function hostKey(peer: PeerId, zone: Zone, kind: string, id: string): RecordKey {
  return checked(`host/${peer}/${zone}/${kind}/${id}`);
}

/** `zone` undefined: for all zones. */
export function userKey(zone: Zone | undefined, kind: string, id: string): RecordKey {
  return checked(`user/${zone ?? "-"}/${kind}/${id}`);
}

function checked(text: string): RecordKey {
  if (!isRecordKey(text)) throw new TypeError(`"${text}" is no record key`);
  return text;
}

/**
 * Where a record lies: its key, and for admin/ and user/ records the stamping peer too. So what a lying host stamps, be
 * it rubbish under a good key, lies beside the genuine record and never replaces it; which of them counts is decided on
 * reading. `!` sorts below every character of a key, so that the order of entries is the order of keys.
 */
export type EntryId = string & { readonly brand: "EntryId" };

export function entryIdOf(record: { readonly key: RecordKey; readonly writer: PeerId }): EntryId {
  return (record.key.startsWith("host/") ? record.key : `${record.key}!${record.writer}`) as EntryId;
}

/** Whose limit a record counts against: the host that wrote or stamped it, its own facts and its stamps apart. */
export function isHostKey(key: string): boolean {
  return key.startsWith("host/");
}
