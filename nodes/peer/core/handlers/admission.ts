import { CcError, isPeerId, isZone } from "../../../../src/base/index.ts";
import { encodeCertificate, fromBase64Url, type HostCertificate, inviteIdOf, parseAdminRequest } from "../../../../src/identity/index.ts";
import type { VpcAddresses } from "../../../../src/vpc/index.ts";
import { must } from "../../must.ts";
import { defaultVpc } from "../../vpc-stamp.ts";
import type { HandlerParts, Some, SomeOpen } from "./parts.ts";
import { mustHaveToken, requestDraft, writeAdmin } from "./writes.ts";

const NEIGHBOURS_MAX = 16;
/** What an invite lasts when its maker does not say. */
const INVITE_VALID_MS = 24 * 3_600_000;

type NeighbourInit = { peer: string; addresses: string[]; endpoints: string[]; certificate: string };

/** How hosts come in: invites by admins, the joiner's two unsigned calls at the HTTPS port. */
export function admissionHandlers(parts: HandlerParts, addresses: VpcAddresses): SomeOpen<"hello" | "admit" | "introduce"> & Some<"createInvite"> {
  const { view, admitted, clock } = parts;

  const neighbours = (): NeighbourInit[] => {
    const own = parts.facts();
    const self = { peer: parts.self, addresses: [...own.addresses], endpoints: [...own.endpoints], certificate: encodeCertificate(parts.certificate) };
    const others = view
      .members()
      .filter((member) => member.peer !== parts.self)
      .slice(0, NEIGHBOURS_MAX)
      .map((member) => ({
        peer: member.peer,
        addresses: [...member.addresses],
        endpoints: [...(member.facts?.endpoints ?? [])],
        certificate: encodeCertificate(member.certificate),
      }));
    return [self, ...others];
  };

  return {
    hello: async () => {
      const { name, version } = parts.facts();
      return { peer: parts.self, mesh: parts.meshId, timeMs: clock.nowMs(), version, zone: parts.zone, name };
    },

    admit: async (request) => {
      const now = () => ({ authority: view.authority(), nowMs: clock.nowMs() + parts.liveness.medianOffsetMs() });
      const name = request.name;
      const holder = name === "" ? undefined : view.members().find((member) => member.name === name && member.peer !== request.peer);
      if (holder !== undefined) throw new CcError("NAME_TAKEN", `a host named ${name} is in the mesh already; give this one another with --name`);
      const certificate = must(await parts.admissions.admit(request, now));
      // Before anybody else hears of it: the zone's first host owns all of its default VPC at first.
      await addresses.handAll(certificate.peerId, zoneOf(certificate));
      const text = encodeCertificate(certificate);
      must(admitted.introduce(text, []));
      return { certificate: text, neighbours: neighbours() };
    },

    introduce: async (request) => {
      const identity = must(admitted.introduce(request.certificate, request.addresses));
      if (!isPeerId(identity.peerId) || !admitted.has(identity.peerId))
        throw new CcError("NOT_A_MEMBER", `the host ${identity.peerId} was removed from the mesh, or the key that let it in was revoked`);
      return { neighbours: neighbours() };
    },

    createInvite: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      if (!isZone(request.zone)) throw new CcError("BAD_REQUEST", `"${request.zone}" is not a zone: a to z, 0 to 9 and -, at most 32`);
      if (fromBase64Url(request.publicKey)?.length !== 32) throw new CcError("BAD_REQUEST", "public_key is the base64url of the invite key's 32 bytes");
      if (request.uses < 1) throw new CcError("BAD_REQUEST", "an invite has at least one use");
      if (request.validForMs <= 0) throw new CcError("BAD_REQUEST", `say how long the invite is valid, in milliseconds, for example ${INVITE_VALID_MS}`);
      const { wrote, copies } = await writeAdmin(parts, caller, signal);
      const { zone, token } = request;
      const members = view.members();
      if (addresses.defaultOf(zone) === undefined && !members.some((member) => member.zone === zone)) {
        const { key, extra } = defaultVpc({ self: parts.self, vpcs: view.vpcs(), members }, { keyId: caller.keyId, token, zone });
        await parts.replica.write([requestDraft(key, caller, false, extra)], { isClaim: true, signal });
      }
      const facts = parts.facts();
      return { id: inviteIdOf(caller.keyId, token), addresses: [...facts.addresses], endpoints: [...facts.endpoints], wrote, copies };
    },
  };
}

/** The zone that a certificate's invite is for. */
function zoneOf({ invite }: HostCertificate): string {
  const read = parseAdminRequest(invite);
  return read.ok && read.value.kind === "invite" ? read.value.zone : "";
}
