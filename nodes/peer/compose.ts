import { mkdir, readFile, statfs, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { createRateLimiter, startApiServer } from "../../src/api/index.ts";
import { CcError, type Logger, type PeerId, sleep } from "../../src/base/index.ts";
import { type CrunConmon, openCrunConmon } from "../../src/containers/index.ts";
import { createCommandRunner, createShellHelper, createUserNamespacePin, makeFolderDurably, systemClock, systemRandom } from "../../src/host/index.ts";
import { ActJournalFolder } from "../../src/identity/drivers/act-journal.ts";
import { InviteLedgerFile } from "../../src/identity/drivers/invite-ledger.ts";
import { loadTlsIdentity } from "../../src/identity/drivers/tls.ts";
import { ed25519Verifier } from "../../src/identity/index.ts";
import { createImageStore } from "../../src/images/index.ts";
import { openAddressFile } from "../../src/mesh/drivers/address-file.ts";
import { createLibp2pMesh, type Libp2pMesh } from "../../src/mesh/drivers/libp2p.ts";
import type { DeclaredCapacity } from "../../src/placement/index.ts";
import { listeningPorts } from "../../src/ports/drivers/listening.ts";
import { createIdentityFile } from "../../src/state/drivers/identity-file.ts";
import { createLevelSlot } from "../../src/state/drivers/level.ts";
import { createRecordFiles } from "../../src/state/drivers/record-files.ts";
import type { ReplicaService } from "../../src/state/index.ts";
import { createNetnsDialer } from "../../src/tunnel/drivers/netns-dialer.ts";
import { openLoopVolumes } from "../../src/volumes/drivers/loop.ts";
import { createVolumeService } from "../../src/volumes/index.ts";
import { type PeerConfig, paths } from "./config.ts";
import { createPeerCore } from "./core/core.ts";
import { type KnownNeighbour, readIdentity, readNeighbours } from "./identity-files.ts";
import { introduceToAll } from "./introducing.ts";
import { endpointsOf, ownNetworks, splitListen } from "./membership.ts";
import { openForwards } from "./network/open-forwards.ts";
import { openNetworks } from "./network/open-networks.ts";

export type RunOptions = {
  readonly acceptLostStore: boolean;
  readonly version: string;
  readonly log: Logger;
  /** Aborted: the peer stops. Containers run on. */
  readonly signal: AbortSignal;
  readonly onReady: (peer: PeerId) => void;
};

const STANDING_LOOK_MS = 2_000;
/** Calls without a signature, by address: a joiner needs two, a cluster of them behind one router some dozens. */
const OPEN_CALLS = { burst: 60, perSecond: 10, callersMax: 10_000 };

/** Run by Node by itself, so it lies apart from the peer's bundle: as it is written, or as tsc compiled it. */
const connectorProgram = fileURLToPath(
  new URL(import.meta.url.includes("/dist/") ? "../../src/tunnel/drivers/netns-connector.js" : "../../src/tunnel/drivers/netns-connector.ts", import.meta.url),
);

/** The composition root: the only place that builds real drivers. Resolves when the peer has stopped. */
export async function runPeer(config: PeerConfig, options: RunOptions): Promise<void> {
  const { log, signal } = options;
  const files = paths(config);
  const identity = await readIdentity(files);
  const neighbours = await readNeighbours(files);
  await makeFolderDurably(config.dataDir);
  await mkdir(config.runDir, { recursive: true, mode: 0o755 });

  const commands = createCommandRunner();
  const pin = createUserNamespacePin({ runDir: config.runDir, commands });
  await pin.ready();
  const volumeShell = createShellHelper();
  const volumeLog = log.child({ part: "volumes" });
  const loopVolumes = await openLoopVolumes(
    { clock: systemClock, logger: volumeLog, commands, shell: volumeShell },
    { dataDir: files.volumes, runDir: files.runVolumes },
  );
  const volumes = createVolumeService({ driver: loopVolumes, clock: systemClock, logger: volumeLog });
  const shells = { disk: createShellHelper(), network: createShellHelper(), process: createShellHelper() };
  const networks = await openNetworks(config, files, (container) => runtime.networkNamespace(container), log.child({ part: "networks" }));
  const runtime: CrunConmon = await openCrunConmon(
    { clock: systemClock, logger: log.child({ part: "runtime" }), userNamespace: pin, ...shells, volumes, networks: networks.service },
    { stateDir: files.containers, runDir: files.runContainers, cgroupParent: config.cgroupParent, nameservers: await hostNameservers() },
  );
  const dialer = createNetnsDialer({
    namespaceOf: (container) => runtime.networkNamespace(container),
    program: connectorProgram,
    clock: systemClock,
    log: log.child({ part: "tunnels" }),
  });
  const addresses = await openAddressFile(files.addresses, systemClock, log.child({ part: "mesh" }));
  for (const neighbour of neighbours) addresses.remember(neighbour.peer as PeerId, neighbour.addresses);
  const capacity = await declaredCapacity(config);

  const forwards = openForwards(config, files, identity.seed, log.child({ part: "forwards" }));
  let network: Libp2pMesh | undefined;
  const listenAddresses = (): readonly string[] => (config.announce.length > 0 ? config.announce : (network?.listenAddresses() ?? []));
  const announced = (): readonly string[] => [...listenAddresses(), ...forwards.addresses()];
  const core = await createPeerCore({
    self: identity.peer,
    meshId: identity.meshId,
    zone: identity.zone,
    signer: identity.signer,
    certificate: identity.certificate,
    verifier: ed25519Verifier,
    clock: systemClock,
    random: systemRandom,
    log,
    slot: createLevelSlot(files.store, () => systemClock.nowMs()),
    identityFile: createIdentityFile({ adminRecords: files.adminRecords, storeMark: files.storeMark }),
    recordFiles: createRecordFiles(files.recordFiles),
    ledger: await InviteLedgerFile.open(files.invites),
    acts: await ActJournalFolder.open(files.acts),
    runtime,
    images: async (source) => {
      const store = createImageStore({
        dataDir: files.images,
        runDir: config.runDir,
        insecureRegistries: config.insecureRegistries,
        pin,
        commands,
        clock: systemClock,
        random: systemRandom,
        log: log.child({ part: "images" }),
        source,
        ...(await imageLimits(config, files.images)),
      });
      await store.sweep();
      return store;
    },
    volumes: {
      list: () => loopVolumes.list(),
      remove: (id) => loopVolumes.remove(id),
      usage: (id) => loopVolumes.usage(id),
      ensureReady: (id, sizeBytes) => volumes.ensureReady(id, sizeBytes),
    },
    dialer,
    listening: listeningPorts,
    forwards: forwards.service,
    mesh: async (members) => {
      network = await createLibp2pMesh({
        seed: identity.seed,
        listen: config.listen,
        ...(config.announce.length > 0 ? { announce: config.announce } : {}),
        admitted: (peer) => members.has(peer),
        members: () => members.peers(),
        addresses: {
          addressesOf: (peer) => [...new Set([...members.recordedAddresses(peer), ...members.addressesOf(peer), ...addresses.addressesOf(peer)])],
          remember: (peer, found) => addresses.remember(peer, found),
        },
        clock: systemClock,
        random: systemRandom,
        log: log.child({ part: "mesh" }),
      });
      return network;
    },
    host: { capacity, labels: config.labels, loadPerCore: () => (loadavg()[0] ?? 0) / availableParallelism() },
    facts: () => ({
      name: config.name,
      version: options.version,
      endpoints: [...endpointsOf(config), ...forwards.endpoints()],
      addresses: announced(),
      networks: ownNetworks(),
      underlay: networks.service.underlay,
      tunnel: networks.service.tunnel,
    }),
    acceptLostStore: options.acceptLostStore,
    neighboursExpected: neighbours.length > 0,
  });
  if (network === undefined) throw new TypeError("the core made no network");
  const mesh = network;

  for (const neighbour of neighbours) {
    const known = core.admitted.introduce(neighbour.certificate, neighbour.addresses);
    if (!known.ok) log.warn({ peer: neighbour.peer, code: known.code }, "a neighbour's certificate does not hold");
  }
  const watchMembers = watchForMembers(
    (listener) => core.replica.onChange(listener),
    () => void mesh.membersChanged(),
  );
  await core.start();
  await networks.service.start({ self: identity.peer, view: core.view, liveness: core.liveness, replica: core.replica });
  await mesh.start();
  volumes.start();

  const { host, port } = splitListen(config.apiListen);
  const names = endpointsOf(config).map((endpoint) => new URL(endpoint).hostname);
  const tls = await loadTlsIdentity({ keyFile: files.tlsKey, certificate: identity.certificate, hostKey: identity.signer, names, random: systemRandom });
  const api = await startApiServer(
    {
      signed: core.signed,
      open: core.open,
      stream: core.stream,
      authenticate: (call, headers, body) => core.authenticator.fromUser(call, headers, body),
      openCalls: createRateLimiter(systemClock, OPEN_CALLS),
      log: log.child({ part: "api" }),
    },
    { host, port, tls: { key: tls.key, cert: tls.certificate }, socketPath: files.socket },
  );

  // A disk that fails ends the peer too, without a signal from outside.
  const ending = new AbortController();
  const introducing = introduceToAll({
    meshId: identity.meshId,
    certificate: identity.certificate,
    neighbours: () => knownEndpoints(neighbours, core.view.members()),
    addresses: announced,
    connected: () => mesh.connected(),
    onNeighbours: (found) => {
      for (const neighbour of found) core.admitted.introduce(neighbour.certificate, neighbour.addresses);
      void mesh.membersChanged();
    },
    clock: systemClock,
    log: log.child({ part: "mesh" }),
    signal: AbortSignal.any([signal, ending.signal]),
  });
  try {
    await core.ready(signal);
    forwards.service.start({ self: identity.peer, view: core.view, replica: core.replica });
    log.info({ peer: identity.peer, zone: identity.zone, port: api.port }, "this peer is ready");
    options.onReady(identity.peer);
    await untilOver(core.replica, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    ending.abort(new CcError("CANCELLED", "the peer is ending"));
    watchMembers();
    await api.stop();
    await forwards.close();
    await core.stop();
    await introducing;
    await mesh.stop();
    await addresses.flush();
    dialer.close();
    await runtime.close();
    await networks.close();
    await volumes.stop();
    await Promise.all([volumeShell, ...Object.values(shells)].map((shell) => shell.close()));
  }
}

/** A disk that refused a write acknowledges nothing any more: the peer ends, and whoever watches it starts it anew. */
async function untilOver(replica: ReplicaService, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (replica.standing() === "failed") throw new CcError("INTERNAL", "the disk refused a write: see the log; start the peer again when the disk is well");
    await sleep(systemClock, STANDING_LOOK_MS, signal).catch(() => undefined); // Aborted: the loop ends.
  }
}

function watchForMembers(onChange: (listener: (changed: readonly { readonly key: string }[]) => void) => () => void, changed: () => void): () => void {
  return onChange((records) => {
    if (records.some(({ key }) => key.startsWith("admin/") || key.endsWith("/certificate/self") || key.endsWith("/facts/self"))) changed();
  });
}

function knownEndpoints(
  neighbours: readonly KnownNeighbour[],
  members: readonly { readonly peer: PeerId; readonly facts: { readonly endpoints: readonly string[] } | undefined }[],
): ReadonlyMap<string, readonly string[]> {
  const known = new Map<string, readonly string[]>(neighbours.map(({ peer, endpoints }) => [peer, endpoints]));
  for (const { peer, facts } of members) if (facts !== undefined && facts.endpoints.length > 0) known.set(peer, facts.endpoints);
  return known;
}

/** What the configuration leaves out is measured: at the first start for the disk, which fills later. */
async function declaredCapacity(config: PeerConfig): Promise<DeclaredCapacity> {
  const { memoryBytes, diskBytes, cpuShares, containersMax } = config.capacity;
  return {
    memoryBytes: memoryBytes ?? Math.floor(totalmem() * 0.9),
    diskBytes: diskBytes ?? (await measuredDisk(config.dataDir)),
    cpuShares: cpuShares ?? availableParallelism() * 1024,
    containersMax,
  };
}

/** What images may be and take on this host's disk. */
async function imageLimits({ images }: PeerConfig, folder: string): Promise<{ unusedMsMax: number; bytesMax: number; uploadBytesMax: number }> {
  await makeFolderDurably(folder);
  const { blocks, bsize } = await statfs(folder);
  return {
    unusedMsMax: images.unusedDaysMax * 24 * 3_600_000,
    bytesMax: (blocks * bsize * images.diskPercentMax) / 100,
    uploadBytesMax: images.uploadBytesMax,
  };
}

async function measuredDisk(dataDir: string): Promise<number> {
  const file = `${dataDir}/disk-capacity`;
  try {
    const bytes = Number(await readFile(file, "utf8"));
    if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  } catch {
    // Not measured yet.
  }
  const { bavail, bsize } = await statfs(dataDir);
  const bytes = Math.floor(bavail * bsize * 0.9);
  await writeFile(file, String(bytes));
  return bytes;
}

/** The host's own resolvers, without those that answer on its loopback only. */
async function hostNameservers(): Promise<readonly string[]> {
  try {
    const lines = (await readFile("/etc/resolv.conf", "utf8")).split("\n");
    return lines.flatMap((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? []).filter((address) => !address.startsWith("127.") && address !== "::1");
  } catch {
    return []; // A host without the file resolves nothing itself.
  }
}
