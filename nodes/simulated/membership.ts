import { create, toBinary } from "@bufbuild/protobuf";
import { callUnsigned } from "../../src/api/client.ts";
import { parseEndpoints } from "../../src/api/client-connection.ts";
import { StampedRequestSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import type { KeyId, MeshId, Zone } from "../../src/base/index.ts";
import { base64, decodeCertificate, fromBase64Url, parseAccessToken, peerIdOf, publicKeyOfPeer, type Signer, signBinding } from "../../src/identity/index.ts";
import { buildRecord } from "../../src/state/index.ts";
import { foundMesh } from "../peer/founding.ts";
import { must } from "../peer/must.ts";
import type { ApiNetwork } from "./api.ts";
import type { HostIdentity, SimulatedHost } from "./host.ts";
import type { KeyRing } from "./keys.ts";
import type { SeededRandom } from "./random.ts";
import { HostClock, MachineTime, type Timeline } from "./timeline.ts";

type Founding = { readonly timeline: Timeline; readonly keys: KeyRing; readonly random: SeededRandom };
type Founded = { readonly meshId: MeshId; readonly root: Signer; readonly adminKeyId: KeyId; readonly admin: Signer };

/** What `cc-peer init` does: the host is the first of a new mesh. */
export function foundMeshOn(host: SimulatedHost, zone: string, { timeline, keys, random }: Founding): Founded {
  const clock = new HostClock(timeline, new MachineTime(timeline, 0));
  const made = foundMesh(random, clock, host.name, zone as Zone);
  const signer = keys.adopt(made.hostSeed, must(publicKeyOfPeer(made.peer)));
  const rootSeed = fromBase64Url(made.recoveryKey.slice("ccr_".length));
  const adminSeed = fromBase64Url(made.secretKey.slice("ccs_".length));
  const [grant] = made.requests;
  const adminKey = grant === undefined ? undefined : fromBase64Url(String(JSON.parse(Buffer.from(grant.request.body).toString("utf8")).publicKey));
  if (rootSeed === undefined || adminSeed === undefined || adminKey === undefined) throw new TypeError("the founding gave no keys");
  const frames = made.requests.map(({ key, request, extra }, index) => {
    const content = toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: { ...request }, ...(extra && { extra }) }));
    return buildRecord({ key, version: { major: clock.nowMs(), minor: index }, final: false, content }, made.peer, signer).frame;
  });
  host.disk.prepare({ adminFrames: frames });
  host.identity = { peer: made.peer, meshId: made.meshId, zone: made.zone, signer, certificate: made.certificate, neighbours: [] };
  const { keyId } = must(parseAccessToken(made.accessToken));
  return { meshId: made.meshId, root: keys.adopt(rootSeed, made.certificate.rootPublicKey), adminKeyId: keyId, admin: keys.adopt(adminSeed, adminKey) };
}

type Joining = {
  readonly inviteId: string;
  readonly inviteKey: Signer;
  readonly zone: string;
  readonly meshId: MeshId;
  readonly timeline: Timeline;
  readonly api: ApiNetwork;
};

/** What `cc-peer join` does: shows the invite to a peer. Throws what it was refused with. */
export async function admitAt(at: SimulatedHost, host: SimulatedHost, signer: Signer, joining: Joining): Promise<HostIdentity> {
  const { inviteId, inviteKey, zone, meshId, timeline, api } = joining;
  const peer = peerIdOf(signer.publicKey);
  const clock = new HostClock(timeline, host.time);
  const [endpoint] = must(parseEndpoints(at.endpoint));
  if (endpoint === undefined) throw new TypeError("a host without an endpoint");
  const request = { invite: inviteId, peer, name: host.name, binding: base64(signBinding(inviteKey, inviteId as never, peer)) };
  const reply = await callUnsigned({ dialer: api.dialerOf(host.name, clock), clock }, endpoint, "Admit", request);
  return { peer, meshId, zone: zone as Zone, signer, certificate: must(decodeCertificate(reply.certificate)), neighbours: reply.neighbours };
}
