import { asCcError, type PeerId } from "../../../src/base/index.ts";
import { createSupervisor } from "../../../src/containers/index.ts";
import { Admissions, KeptActs } from "../../../src/identity/index.ts";
import { createObserver, type Liveness } from "../../../src/mesh/index.ts";
import { createPlacement } from "../../../src/placement/index.ts";
import { PortBook } from "../../../src/ports/index.ts";
import { createAdmissionCheck, createReplica, createView, type Member, type View } from "../../../src/state/index.ts";
import { Budget } from "../../../src/tunnel/index.ts";
import { VolumeHolder } from "../../../src/volumes/index.ts";
import { VpcAddresses } from "../../../src/vpc/index.ts";
import { createPhaseBoard } from "../phase-board.ts";
import { createAdmitted } from "./admitted.ts";
import { createAskAround } from "./ask-around.ts";
import { createAuthenticator } from "./authenticate.ts";
import type { CoreParts, PeerCore } from "./core-parts.ts";
import { createDesired, toBoard } from "./desired.ts";
import { admissionHandlers } from "./handlers/admission.ts";
import { changeHandlers } from "./handlers/changes.ts";
import { firewallHandlers } from "./handlers/firewall.ts";
import { createAskForwards } from "./handlers/forwards.ts";
import { createHeldNames } from "./handlers/held-names.ts";
import { hostHandlers } from "./handlers/hosts.ts";
import { inspectHandlers } from "./handlers/inspect.ts";
import { keyHandlers } from "./handlers/keys.ts";
import { metricsHandlers } from "./handlers/metrics.ts";
import type { HandlerParts } from "./handlers/parts.ts";
import { readHandlers } from "./handlers/reads.ts";
import { runHandlers } from "./handlers/run.ts";
import { volumeHandlers } from "./handlers/volumes.ts";
import { vpcHandlers } from "./handlers/vpcs.ts";
import { waitHandlers } from "./handlers/wait.ts";
import { createBlobSource } from "./images/blob-source.ts";
import { createImageSharing } from "./images/sharing.ts";
import { createMeshTime } from "./mesh-time.ts";
import { networkHere } from "./network-here.ts";
import { createOwnRecords } from "./own-records.ts";
import { placementView } from "./placement-view.ts";
import { withProgress } from "./pull-progress.ts";
import { createRecordsBeside } from "./records-beside.ts";
import { createRunRequests } from "./run-requests.ts";

export async function createPeerCore(parts: CoreParts): Promise<PeerCore> {
  const { self, meshId, zone, signer, verifier, clock, random, log, certificate } = parts;
  const startedAtMs = clock.nowMs();
  const stopping = new AbortController();

  // Members decide who may connect, and come out of records that come over connections: tied together late.
  let view: View | undefined;
  let liveness: Liveness | undefined;
  let ids: { readonly members: readonly Member[]; readonly set: ReadonlySet<PeerId> } | undefined;
  const memberIds = (): ReadonlySet<PeerId> => {
    const members = view?.members() ?? [];
    if (ids?.members !== members) ids = { members, set: new Set(members.map(({ peer }) => peer)) };
    return ids.set;
  };
  const admitted = createAdmitted({ self, meshId, verifier, authority: () => authority(), members: () => memberIds() });
  const mesh = await parts.mesh({ ...admitted, recordedAddresses: (peer) => view?.member(peer)?.addresses ?? [] });
  const isCertificate = createAdmissionCheck(meshId, verifier);
  const replica = createReplica(
    {
      signer,
      verifier,
      // Who has shown a certificate is stored at once: what is acknowledged on its word lies on the disk, not in a waiting room.
      admits: (record) => isCertificate(record) || admitted.has(record.writer),
      slot: parts.slot,
      identityFile: parts.identityFile,
      beside: () => beside.load(),
      mesh,
      liveness: { reachable: () => liveness?.reachable() ?? [], medianOffsetMs: () => liveness?.medianOffsetMs() ?? 0 },
      clock,
      random,
      log: log.child({ part: "state" }),
    },
    { self, zone, acceptLostStore: parts.acceptLostStore, neighboursExpected: parts.neighboursExpected },
  );
  const records = createView({ replica, verifier, rootPublicKey: certificate.rootPublicKey });
  view = records;
  const authority = () => records.authority();
  const here = async (): Promise<ReadonlySet<string>> => new Set([...(await parts.runtime.list()), ...(await parts.volumes.list()).map(({ id }) => id)]);
  const beside = createRecordsBeside({ self, files: parts.recordFiles, replica, view: records, here, clock, log });
  const observer = createObserver({
    mesh,
    members: () => admitted.peers(),
    facts: {
      startNumber: () => replica.startNumber(),
      highestOf: (peer) => ({ key: "", startNumber: replica.highestStartOf(peer) }),
      digest: () => replica.digest(),
      heard: (peer, said) => replica.heard(peer, { digest: said.digest, highestStartOfYours: said.highestStartNumber }),
    },
    clock,
    random,
    log: log.child({ part: "liveness" }),
  });
  liveness = observer;

  const board = createPhaseBoard();
  const acts = await KeptActs.open(parts.acts, log);
  const time = createMeshTime(clock, observer);
  const checking = { self, meshId, time, verifier, authority };
  const authenticator = createAuthenticator({ ...checking, acts });
  const source = createBlobSource({ mesh, reachable: () => observer.reachable(), clock, log: log.child({ part: "images" }) });
  const store = await parts.images(source);
  const images = withProgress(store, board, () => records.claimsOf(self).flatMap(({ id }) => records.container(id) ?? []));
  const desired = createDesired({
    self,
    zone,
    view: records,
    replica,
    mayStart: (id) => {
      const attached = addresses.mayAttach(id);
      return attached.ok ? placement.holder.mayStart(id) : attached;
    },
    volumesReady: (ids) => volumes.ready(ids),
    board,
    log,
  });
  const requests = createRunRequests(checking);
  const volumes = new VolumeHolder({
    replica,
    mesh,
    view: records,
    requests,
    signer,
    verifier,
    files: parts.volumes,
    clock,
    log: log.child({ part: "volumes" }),
  });
  const addresses = new VpcAddresses({ mesh, replica, view: records, liveness: observer, signer, verifier, clock, random, log: log.child({ part: "vpcs" }) });
  const ports = new PortBook({ self, zone, view: records, random, listening: parts.listening });
  const placement = createPlacement({
    mesh,
    liveness: observer,
    replica,
    clock,
    random,
    logger: log.child({ part: "placement" }),
    signer,
    verifier,
    requests,
    view: placementView(records),
    host: {
      capacity: parts.host.capacity,
      labels: parts.host.labels,
      draining: false,
      get loadPerCore() {
        return parts.host.loadPerCore();
      },
      hasImage: async (reference) => (await images.local(reference)) !== undefined,
    },
    yielding: desired,
    volumes,
    network: networkHere(addresses, ports),
  });
  const supervisor = createSupervisor({ runtime: parts.runtime, images, desired, clock, logger: log.child({ part: "containers" }) });
  const admissions = new Admissions({ self, signer, rootPublicKey: certificate.rootPublicKey, ledger: parts.ledger, verifier });
  const handlerParts: HandlerParts = {
    self,
    meshId,
    zone,
    certificate,
    clock,
    random,
    log,
    verifier,
    mesh,
    liveness: observer,
    replica,
    view: records,
    placement,
    authenticator,
    admitted,
    admissions,
    facts: parts.facts,
  };
  const names = createHeldNames(handlerParts);
  const askAround = createAskAround({ mesh, liveness: observer, replica, view: records, clock, log });
  const admission = admissionHandlers(handlerParts, addresses);
  const tunnels = { dialer: parts.dialer, budget: new Budget(), log: log.child({ part: "tunnels" }) };
  const sharing = createImageSharing(handlerParts, { library: store.library, source, desired, runtime: parts.runtime });
  const runs = runHandlers(handlerParts, { runtime: parts.runtime, board }, { tunnels, between: sharing.peerStreams }, askAround);
  const { hello, admit, introduce, createInvite } = admission;

  const own = createOwnRecords({ ...parts, startedAtMs, replica });

  const becomeReady = async (): Promise<void> => {
    await replica.ready(stopping.signal);
    await own.writeCertificate();
    await own.writeFacts();
    for (const { spec } of desired.all()) {
      const last = desired.lastPhase(spec.id);
      if (last !== undefined) board.set(spec.id, toBoard(last));
    }
    // Stopped meanwhile: nothing begins that nobody would end.
    stopping.signal.throwIfAborted();
    volumes.start();
    addresses.start();
    placement.start();
    await supervisor.start();
    void own.keepFacts(stopping.signal);
    void beside.keep(stopping.signal);
    void sharing.keep(stopping.signal);
  };

  let readiness: Promise<void> | undefined;
  return {
    signed: {
      ...keyHandlers(handlerParts),
      ...hostHandlers(handlerParts, parts.forwards),
      ...readHandlers(handlerParts, askAround, createAskForwards(handlerParts, parts.forwards)),
      ...changeHandlers(handlerParts, askAround),
      ...volumeHandlers(handlerParts, { holder: volumes, files: parts.volumes, names }, askAround),
      ...firewallHandlers(handlerParts, askAround),
      ...vpcHandlers(handlerParts, { addresses, names }, askAround),
      ...inspectHandlers(handlerParts, askAround),
      ...waitHandlers(handlerParts, askAround),
      ...metricsHandlers(handlerParts, parts.runtime, askAround),
      ...sharing.signed,
      createInvite,
      run: runs.run,
    },
    open: { hello, admit, introduce },
    stream: (call, caller, channel, signal) => (call === "Push" ? sharing.push(caller, channel, signal) : runs.stream(call, caller, channel, signal)),
    authenticator,
    admitted,
    replica,
    view: records,
    liveness: observer,
    mesh,
    board,
    used: () => placement.holder.used,
    usableBlocks: (vpc) => addresses.blocks(vpc),
    start: async () => {
      await replica.start();
      observer.start();
      readiness = becomeReady();
      // Told to whoever waits for it; without a waiter it is in the log.
      readiness.catch((error: unknown) => {
        if (!stopping.signal.aborted) log.error({ err: asCcError(error) }, "this peer could not become ready");
      });
    },
    ready: async (signal) => {
      await replica.ready(signal);
      await readiness;
    },
    stop: async () => {
      stopping.abort();
      placement.stop();
      volumes.stop();
      addresses.stop();
      await supervisor.stop();
      desired.stop();
      time.stop();
      records.close();
      observer.stop();
      await replica.stop();
    },
  };
}
