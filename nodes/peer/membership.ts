import { networkInterfaces } from "node:os";
import { create, toBinary } from "@bufbuild/protobuf";
import { createDialer } from "../../src/api/drivers/dialer.ts";
import { RecordsSchema } from "../../src/api/gen/cc/v1/mesh_pb.ts";
import { StampedRequestSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import { type Cidr, type Clock, containsCidr, formatCidr, networkAround, type PeerId, parseIp, type Random, type Zone } from "../../src/base/index.ts";
import { makeFolderDurably, writeFileDurably } from "../../src/host/index.ts";
import { decodeInvite, generateKeyPair, type SignedRequest, signerFromSeed, verifyPeerCertificate } from "../../src/identity/index.ts";
import { buildRecord } from "../../src/state/index.ts";
import { TRANSIT_CIDR } from "../../src/vpc/index.ts";
import { type PeerConfig, paths } from "./config.ts";
import { foundMesh } from "./founding.ts";
import { mustBeNobody, writeIdentity } from "./identity-files.ts";
import { askForAdmission } from "./joining.ts";
import { must } from "./must.ts";

export type InitReport = {
  readonly meshId: string;
  readonly recoveryKey: string;
  readonly endpointUrl: string;
  readonly accessToken: string;
  readonly secretKey: string;
  readonly peer: PeerId;
};

/** `cc-peer init`: a mesh of this one host. Throws CONFLICT when this host is a member already. */
export async function initHost(config: PeerConfig, zone: Zone, random: Random, clock: Clock): Promise<InitReport> {
  const files = paths(config);
  mustBeNobody(files);
  const made = foundMesh(random, clock, config.name, zone, ownNetworks());
  const signer = signerFromSeed(made.hostSeed);
  const frames = made.requests.map(({ key, request, extra }, index) => {
    const version = { major: clock.nowMs(), minor: index };
    return buildRecord({ key, version, final: false, content: stampedContent(request, extra) }, made.peer, signer).frame;
  });
  await makeFolderDurably(config.dataDir);
  await makeFolderDurably(`${config.dataDir}/identity`);
  // Before the identity: a host that is somebody has the records that make it so.
  await writeFileDurably(files.adminRecords, toBinary(RecordsSchema, create(RecordsSchema, { frames })));
  await writeIdentity(files, made.hostSeed, made.certificate, []);
  return {
    meshId: made.meshId,
    recoveryKey: made.recoveryKey,
    endpointUrl: endpointsOf(config)[0] ?? `https://127.0.0.1:8443`,
    accessToken: made.accessToken,
    secretKey: made.secretKey,
    peer: made.peer,
  };
}

/** `cc-peer join`: throws INVITE_* with what to do, PEER_UNREACHABLE, or CONFLICT when this host is a member already. */
export async function joinMesh(
  config: PeerConfig,
  text: string,
  random: Random,
  clock: Clock,
): Promise<{ readonly peer: PeerId; readonly zone: Zone; readonly meshId: string }> {
  const files = paths(config);
  mustBeNobody(files);
  const invite = must(decodeInvite(text));
  const host = generateKeyPair(random);
  const dialer = createDialer((sanText, spki) => verifyPeerCertificate(sanText, spki, invite.meshId));
  const { certificate, neighbours } = await askForAdmission({ dialer, clock }, invite, host, config.name);
  await makeFolderDurably(config.dataDir);
  await writeIdentity(files, host.seed, certificate, neighbours);
  return { peer: certificate.peerId, zone: invite.zone, meshId: invite.meshId };
}

function stampedContent(request: SignedRequest, extra = new Uint8Array()): Uint8Array {
  return toBinary(
    StampedRequestSchema,
    create(StampedRequestSchema, { request: { body: request.body, signatureInput: request.signatureInput, signature: request.signature }, extra }),
  );
}

/** CIDRs of this host's interfaces, by the text that everybody has of them; without those that VPCs make here. */
export function ownNetworks(): readonly string[] {
  const found = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const cidrs = found.flatMap(({ internal, family, cidr }) => (internal || family !== "IPv4" || cidr === null ? [] : [networkOf(cidr)]));
  return [...new Set(cidrs.flatMap((cidr) => (cidr === undefined || containsCidr(TRANSIT_CIDR, cidr) ? [] : [formatCidr(cidr)])))].sort();
}

/** `10.7.0.3/16` is in 10.7.0.0/16. */
function networkOf(text: string): Cidr | undefined {
  const [address = "", bits = ""] = text.split("/");
  const ip = parseIp(address);
  return ip === undefined ? undefined : networkAround(ip, Number(bits));
}

/** URLs under which users reach this host's API: as configured, else one for each address of its interfaces. */
export function endpointsOf(config: Pick<PeerConfig, "endpoints" | "apiListen">): readonly string[] {
  if (config.endpoints.length > 0) return config.endpoints;
  const { host, port } = splitListen(config.apiListen);
  if (host !== "0.0.0.0" && host !== "::") return [`https://${host.includes(":") ? `[${host}]` : host}:${port}`];
  const addresses = Object.values(networkInterfaces())
    .flatMap((found) => found ?? [])
    .filter((address) => !address.internal && address.family === "IPv4");
  return addresses.map((address) => `https://${address.address}:${port}`);
}

export function splitListen(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(text.slice(at + 1)) };
}
