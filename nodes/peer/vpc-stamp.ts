import { create, toBinary } from "@bufbuild/protobuf";
import { type VpcStamp, VpcStampSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import { CcError, type Cidr, formatCidr, type KeyId, type PeerId, parseCidr, type RecordKey, type VpcId, type Zone } from "../../src/base/index.ts";
import { type Member, userKey, type VpcView, vpcIdOf } from "../../src/state/index.ts";
import { assignVnis, defaultVpcCidr, firstSplit, freeVni, type InUse, TRANSIT_CIDR } from "../../src/vpc/index.ts";

type KnownHosts = readonly Pick<Member, "peer" | "zone" | "name" | "facts">[];

/** What no VPC may overlap: the hosts' own networks, as they say, and what VPCs use to get out of a host. */
export function networksInUse(members: KnownHosts): readonly InUse[] {
  const networks = members.flatMap(({ name, peer, facts }) => readNetworks(facts?.networks ?? [], `a network of host ${name || peer}`));
  return [{ cidr: TRANSIT_CIDR, what: "the way from VPCs to their host" }, ...networks];
}

function readNetworks(texts: readonly string[], what: string): InUse[] {
  return texts.flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr.ok ? [{ cidr: cidr.value, what }] : [];
  });
}

type Known = { readonly self: PeerId; readonly vpcs: readonly VpcView[]; readonly members: KnownHosts };

/** What a peer adds to a VPC's create: decided there once and for all. Throws CcError LIMIT when no VNI is free. */
export function vpcStamp(known: Known, id: VpcId, cidr: Cidr, zone: string): Uint8Array<ArrayBuffer> {
  return encode(stampOf(known, id, cidr, zone));
}

function stampOf({ self, vpcs, members }: Known, id: VpcId, cidr: Cidr, zone: string): Pick<VpcStamp, "vni" | "split"> {
  const vni = freeVni(id, new Set(assignVnis(vpcs).values()));
  if (vni === undefined) throw new CcError("LIMIT", "no VNI is free for one more VPC");
  const hosts = members.flatMap((member) => (member.zone === zone ? [member.peer] : []));
  // Of a zone without hosts it is this peer's until the first one comes.
  const creator = hosts.includes(self) ? self : (hosts[0] ?? self);
  const split = firstSplit(cidr, creator, hosts).map(({ owner, blocks }) => ({ owner, blocks: blocks.map(formatCidr) }));
  return create(VpcStampSchema, { vni, split });
}

const encode = (stamp: Pick<VpcStamp, "vni" | "split"> & { readonly cidr?: string }): Uint8Array<ArrayBuffer> =>
  toBinary(VpcStampSchema, create(VpcStampSchema, { vni: stamp.vni, split: stamp.split, cidr: stamp.cidr ?? "" }));

/** The VPC that a zone has without anybody's asking, as the invite of its first host makes it: its record's key, and what the stamp adds to that invite. */
export function defaultVpc(
  known: Known,
  invite: { readonly keyId: KeyId; readonly token: string; readonly zone: Zone },
): { readonly key: RecordKey; readonly extra: Uint8Array<ArrayBuffer> } {
  const id = vpcIdOf(invite.keyId, invite.token, known.self);
  const cidr = defaultVpcCidr(networksInUse(known.members));
  return { key: userKey(invite.zone, "vpc", id), extra: encode({ ...stampOf(known, id, cidr, invite.zone), cidr: formatCidr(cidr) }) };
}
