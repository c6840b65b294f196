import { CcError, isPeerId, type PeerId } from "../../../../src/base/index.ts";
import { type HostCertificate, parseAdminRequest } from "../../../../src/identity/index.ts";
import { reachedFromOutside } from "../../../../src/ports/index.ts";
import { compareVersions } from "../../../../src/state/index.ts";
import { must } from "../../must.ts";
import { encryptionByHost } from "../../network/ways.ts";
import type { ForwardsHere } from "./forwards.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { mustHaveToken, writeAdmin } from "./writes.ts";

/** A host whose clock is further off is named. */
const CLOCK_WARNING_MS = 5_000;

export function hostHandlers(parts: HandlerParts, forwards: Pick<ForwardsHere, "whyNotOutside">): Some<"listHosts" | "removeHost"> {
  const { view, liveness, replica } = parts;

  return {
    listHosts: async () => {
      const medianMs = liveness.medianOffsetMs();
      // Nobody tells a host about itself: who holds a connection to it sees it.
      const connected = new Set(parts.mesh.connected());
      const members = view.members();
      const admittedBy = Map.groupBy(members, ({ certificate }) => issuerOf(certificate));
      const encryption = encryptionByHost(members);
      const hosts = members.map((member) => {
        const seen = liveness.of(member.peer);
        const offsetMs = (seen.clockOffsetMs ?? 0) - medianMs;
        return {
          id: member.peer,
          name: member.name,
          zone: member.zone,
          state: seen.standing,
          sinceMs: seen.sinceMs,
          seenBy: member.peer === parts.self ? members.flatMap(({ peer }) => (connected.has(peer) ? [peer] : [])) : [...seen.seenBy],
          version: member.facts?.version ?? "",
          ...(member.facts?.capacity === undefined ? {} : { capacity: member.facts.capacity }),
          used: view.usedBy(member.peer),
          clockOffsetMs: Math.round(offsetMs),
          clockWarning: Math.abs(offsetMs) > CLOCK_WARNING_MS,
          self: member.peer === parts.self,
          endpoints: [...(member.facts?.endpoints ?? [])],
          outside: reachedFromOutside(member.addresses),
          outsideNote: member.peer === parts.self && !reachedFromOutside(member.addresses) ? forwards.whyNotOutside() : "",
          ...newestOf(member.peer),
          encrypted: encryption.get(member.peer) ?? "",
          admitted: (admittedBy.get(member.peer) ?? []).flatMap(({ peer }) => (peer === member.peer ? [] : [peer])),
        };
      });
      const removed = [...view.authority().removals].map(([peer, removal]) => ({
        id: peer,
        name: "",
        zone: "",
        state: "removed",
        sinceMs: removal.stamp.timeMs,
      }));
      return { hosts: [...hosts.sort((a, b) => (a.name === b.name ? (a.id < b.id ? -1 : 1) : a.name < b.name ? -1 : 1)), ...removed] };
    },

    removeHost: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      if (!isPeerId(request.host)) throw new CcError("BAD_REQUEST", `"${request.host}" is not a host's id; cc host list shows them`);
      if (view.authority().removals.has(request.host)) return { wrote: [], copies: 0 };
      const members = view.members();
      if (!members.some((member) => member.peer === request.host)) throw new CcError("NOT_FOUND", `there is no host ${request.host}; cc host list shows them`);
      if (members.length === 1) throw new CcError("CONFLICT", "this is the mesh's last host; to end the mesh, stop its peer and delete its data folder");
      if (!request.force)
        mustSeeMajority(
          request.host,
          members.map((member) => member.peer),
        );
      const parsed = must(parseAdminRequest(caller.signed));
      if (parsed.kind !== "removal" || parsed.countsTo === undefined) {
        throw new CcError("BAD_REQUEST", "a removal names the last version of the host's records that counts: last_major and last_minor of ListHosts");
      }
      // "All that it admitted" are those from before the removal.
      const admitted = parsed.allCertificates ? members.filter((member) => issuerOf(member.certificate) === request.host) : [];
      return writeAdmin(parts, caller, signal, Math.max(...admitted.map(({ admittedAtMs }) => admittedAtMs + 1)));
    },
  };

  function newestOf(host: PeerId): { lastMajor: number; lastMinor: number } {
    let last = { major: 0, minor: 0 };
    for (const { version } of replica.list(`host/${host}/`)) if (compareVersions(version, last) > 0) last = version;
    return { lastMajor: last.major, lastMinor: last.minor };
  }

  /** A minority must not remove a majority that it merely cannot reach: then two meshes would each have removed the other. */
  function mustSeeMajority(host: PeerId, members: readonly PeerId[]): void {
    if (liveness.of(host).standing === "alive") return;
    const seen = members.filter((peer) => peer === parts.self || liveness.of(peer).standing === "alive").length;
    if (seen * 2 > members.length) return;
    throw new CcError(
      "MAJORITY_NEEDED",
      `this peer reaches ${seen} of ${members.length} hosts, and ${host} is not among them: remove it at a peer that reaches more than half, or with --force when the others are gone for good`,
    );
  }
}

/** The peer that countersigned a member's certificate. */
function issuerOf(certificate: HostCertificate): PeerId | undefined {
  const invite = parseAdminRequest(certificate.invite);
  return invite.ok && invite.value.kind === "invite" ? invite.value.issuer : undefined;
}
