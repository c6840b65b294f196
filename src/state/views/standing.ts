import type { MeshId, PeerId, Zone } from "../../base/index.ts";
import {
  type Authority,
  type HostCertificate,
  type HostIdentity,
  memberStanding,
  type Stamp,
  type UserRecordStanding,
  userRecordCounts,
  type Verifier,
} from "../../identity/index.ts";
import { readCertificateRecord } from "../admission.ts";
import type { StoredRecord, Version } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { compareVersions } from "../version.ts";

/** What an admitted host is, with what revocations and removals leave of it. */
export type HostStanding = {
  readonly identity: HostIdentity;
  readonly certificate: HostCertificate;
  readonly zone: Zone;
  readonly standing: "member" | "removed" | "void";
};

/** Everything that who-may-what is judged by: made anew when an admin record or a certificate changes. */
export type Judge = {
  readonly authority: Authority;
  readonly hosts: ReadonlyMap<PeerId, HostStanding>;
  readonly verifier: Verifier;
  readonly stampOf: (record: StoredRecord) => Version;
};

export function judgeHosts(records: readonly StoredRecord[], authority: Authority, meshId: MeshId, verifier: Verifier): ReadonlyMap<PeerId, HostStanding> {
  const hosts = new Map<PeerId, HostStanding>();
  for (const record of records) {
    const known = readCertificateRecord(record, meshId, verifier);
    if (known === undefined) continue;
    const { identity, certificate } = known;
    hosts.set(record.writer, { identity, certificate, zone: identity.zone, standing: memberStanding(identity, authority).standing });
  }
  return hosts;
}

/** The stamp that counts, as identity reads it. */
function stampOf(record: StoredRecord, judge: Judge): Stamp {
  const { major, minor } = judge.stampOf(record);
  return { writer: record.writer, timeMs: major, counter: minor };
}

/**
 * Whether this host's stamps count: a member's, and a removed one's too. A stamp says only when a user signed what, within
 * minutes: cut at the removal, it would cost users what they were told is done, as far back as a clock is wrong.
 */
function stamperCounts({ writer }: Stamp, judge: Judge): boolean {
  const host = judge.hosts.get(writer);
  return host !== undefined && host.standing !== "void";
}

/** A user's record, judged: its key, signature, role, time and stamping peer. What its call says is not looked at. */
export function judgeUserRecord(record: StoredRecord, judge: Judge): UserRecordStanding {
  const content = stampedContentOf(record);
  if (content === undefined) return { standing: "void", reason: "it holds no request" };
  const stamp = stampOf(record, judge);
  if (!stamperCounts(stamp, judge)) return { standing: "void", reason: "the peer that stamped it was never a member" };
  return userRecordCounts(judge.authority, content.request, stamp, judge.verifier);
}

/**
 * How a host's own record counts: `live` as it stands; `past` only for what ended and went, and for epochs (the host was
 * removed, and the removal's last version covers it); `void` for nothing.
 */
export function judgeHostRecord(record: StoredRecord, zone: Zone, judge: Judge): "live" | "past" | "void" {
  const host = judge.hosts.get(record.writer);
  if (host === undefined || host.standing === "void" || host.zone !== zone) return "void";
  const removal = judge.authority.removals.get(record.writer);
  if (removal === undefined) return "live";
  return removal.countsTo === undefined || compareVersions(record.version, removal.countsTo) <= 0 ? "past" : "void";
}
