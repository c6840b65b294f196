import { toBinary } from "@bufbuild/protobuf";
import { type RecordFrame, RecordFrameSchema } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, CcError, type PeerId, type RecordKey, type Zone } from "../base/index.ts";
import { RECORDS_TOPIC } from "../mesh/index.ts";
import { COMMIT_BACKLOG_BYTES_MAX, CommitLog } from "./commit-log.ts";
import { askForCopy } from "./copies.ts";
import { deferred, settledUnless } from "./deferred.ts";
import { DropTeller } from "./drop-teller.ts";
import { decodeGossip, gossipVerdict, serveRecords } from "./exchange.ts";
import { framesBeside, IdentityCopy, liesBeside } from "./identity-copy.ts";
import { Intake, type Intaken } from "./intake.ts";
import { Listeners } from "./listeners.ts";
import { META_START, META_STORE_ID, type Opened, openRecords } from "./opening.ts";
import { mustHaveRoom, whyNotReady } from "./own-refusals.ts";
import { OwnVersions } from "./own-versions.ts";
import { checkFrame } from "./record.ts";
import { entryIdOf, isHostKey } from "./record-key.ts";
import { refill } from "./refill.ts";
import { RepairLoop, type RepairParts, reconcileWith } from "./repair.ts";
import type { Draft, StoredRecord, Version, WriteOptions, Written } from "./replica.ts";
import type { ReplicaCounts, ReplicaParts, ReplicaService, ReplicaSettings, ReplicaStanding } from "./replica-parts.ts";
import { Spread } from "./spread.ts";
import { StoreLoss } from "./store-loss.ts";

const META_STAMPS = "restamped";
const TICK_MS = 1_000;
const STORE_ID_BYTES = 16;

export function createReplica(parts: ReplicaParts, settings: ReplicaSettings): ReplicaService {
  return new ReplicaOnHost(parts, settings);
}

class ReplicaOnHost implements ReplicaService {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly #parts: ReplicaParts;
  readonly #settings: ReplicaSettings;
  readonly #intake: Intake;
  readonly #own: OwnVersions;
  readonly #spread: Spread;
  readonly #repair: RepairLoop;
  readonly #repairParts: RepairParts;
  readonly #listeners: Listeners;
  readonly loss = new StoreLoss((meta) => this.#log().stage({ meta }));
  readonly #stopped = new AbortController();
  readonly #ready = deferred<void>();
  readonly #identityCopy: IdentityCopy;
  readonly #drops: DropTeller;
  #commits: CommitLog | undefined;
  #opened: Opened | undefined;
  #unsubscribe: (() => void) | undefined;
  #cancelTick: (() => void) | undefined;
  #standing: ReplicaStanding = "stopped";
  #rememberedStart = 0;
  /** Own records that neighbours had and this host's store did not. */
  #metWhileRefilling = 0;
  #storeId = "";

  constructor(parts: ReplicaParts, settings: ReplicaSettings) {
    this.self = settings.self;
    this.zone = settings.zone;
    this.#parts = parts;
    this.#settings = settings;
    this.#intake = new Intake(settings.self, parts.verifier, parts.admits, settings.limits);
    this.#own = new OwnVersions(settings.self, parts.signer);
    this.#spread = new Spread(parts.mesh, parts.clock);
    this.#drops = new DropTeller(parts.log);
    this.#listeners = new Listeners(parts.log);
    this.#repairParts = { ...parts, index: this.#intake.book.index, take: async (frames, from) => (await this.take(frames, from)).taken.length };
    this.#repair = new RepairLoop(this.#repairParts);
    this.#identityCopy = new IdentityCopy(parts.identityFile, parts.log, () => ({
      adminFrames: framesBeside(this.list("admin/"), this.list("host/"), this.self),
      storeId: this.#storeId,
      startNumber: this.#own.startNumber,
    }));
  }

  async start(): Promise<void> {
    if (this.#standing !== "stopped" || this.#stopped.signal.aborted) return;
    this.#standing = "refilling";
    const remembered = await this.#parts.identityFile.load();
    const opened = await openRecords(this.#parts.slot, remembered, this.#parts.log);
    this.#opened = opened;
    this.loss.begin(opened);
    this.#commits = new CommitLog(opened.store);
    this.#intake.stamps.load(opened.meta[META_STAMPS] ?? "[]");
    const nowMs = this.#nowMs();
    for (const record of opened.records) {
      this.#intake.restore(record, nowMs);
      this.#own.observe(record, nowMs);
    }
    this.#tell(opened.records);
    this.#storeId = opened.meta[META_STORE_ID] ?? Buffer.from(this.#parts.random.bytes(STORE_ID_BYTES)).toString("hex");
    this.#rememberedStart = Math.max(Number(opened.meta[META_START] ?? "0"), remembered?.startNumber ?? 0, this.highestStartOf(this.self));
    if (opened.meta[META_STORE_ID] === undefined) await this.#commits.stage({ meta: { [META_STORE_ID]: this.#storeId } });
    this.#intake.trust(remembered?.adminFrames ?? []);
    await this.take(remembered?.adminFrames ?? [], this.self);
    serveRecords(this.#parts.mesh, { index: this.#intake.book.index, hold: (frames, from) => this.#hold(frames, from) });
    this.#unsubscribe = this.#parts.mesh.subscribe(RECORDS_TOPIC, (data, from) => this.#hear(data, from));
    this.#cancelTick = this.#parts.clock.after(TICK_MS, () => this.#tick());
    this.#becomeReady().catch((error: unknown) => this.#fail(error));
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new CcError("CANCELLED", "this peer is stopping"));
    this.#unsubscribe?.();
    this.#cancelTick?.();
    this.#repair.stop();
    this.#spread.stop();
    if (this.#standing !== "failed") this.#standing = "stopped";
    // A disk that failed has said so already; what is left is to let go of it.
    await this.#commits?.settled().catch(() => undefined);
    await this.#identityCopy.settled();
    await this.#opened?.store.close();
  }

  get(key: RecordKey): StoredRecord | undefined {
    return this.#intake.book.get(key);
  }

  list(prefix: string): readonly StoredRecord[] {
    return this.#intake.book.list(prefix);
  }

  async write(drafts: readonly Draft[], options: WriteOptions = {}): Promise<Written> {
    this.mustBeReady();
    options.signal?.throwIfAborted();
    const nowMs = this.#nowMs();
    for (const frame of options.beside ?? []) {
      const checked = checkFrame(frame, this.#parts.verifier);
      if (!checked.ok) throw new CcError("BAD_REQUEST", `a record beside the others is not one: ${checked.reason}`);
    }
    const records = this.#sign(drafts, nowMs);
    mustHaveRoom(this.#intake.book, records);
    const others = this.#intake.take(options.beside ?? [], this.self, nowMs);
    const own = this.#intake.put(records, nowMs);
    const stored = [...others.stored, ...records];
    const frames = stored.map((record) => record.frame);
    const fsynced = this.#commit(this.#log(), [others, own]);
    if (options.isClaim === true) await fsynced.then(this.#intake.book.index.holdBack(stored));
    this.#spread.add(frames);
    // The copy is asked for meanwhile: if this host dies before its own fsync, it meets these records again and keeps them.
    const copied = options.copies === 1 ? undefined : askForCopy(frames, this.#parts, this.#stopped.signal);
    await fsynced;
    return { records, copies: (await copied) === undefined ? 1 : 2 };
  }

  async stamp(draft: Draft): Promise<StoredRecord> {
    this.mustBeReady();
    const [record] = this.#sign([draft], this.#nowMs());
    if (record === undefined || isHostKey(record.key)) throw new CcError("BAD_REQUEST", "only a user's or an admin's request is stamped");
    return record;
  }

  async take(frames: readonly RecordFrame[], from: PeerId): Promise<{ readonly taken: readonly StoredRecord[]; readonly dropped: number }> {
    const { taken, fsynced } = this.#takeIn(frames, from);
    await fsynced;
    return { taken: taken.stored, dropped: taken.dropped };
  }

  onChange(listener: (changed: readonly StoredRecord[]) => void): () => void {
    return this.#listeners.add(listener);
  }

  digest(): Uint8Array {
    return this.#intake.book.index.digest();
  }

  ready(signal: AbortSignal): Promise<void> {
    return settledUnless(signal, this.#ready.promise);
  }

  standing(): ReplicaStanding {
    return this.#standing;
  }

  startNumber(): number {
    return this.#own.startNumber;
  }

  stampOf(record: StoredRecord): Version {
    return this.#intake.stamps.stampOf(record);
  }

  highestStartOf(peer: PeerId): number {
    return this.#intake.book.highestMajorOf(`host/${peer}/`);
  }

  heard(peer: PeerId, told: { readonly digest: Uint8Array; readonly highestStartOfYours: number }): void {
    // A number alone is a neighbour's word: one that lies must not drive ours to its end. The records that prove it are ours.
    const lacksOwn = told.highestStartOfYours > Math.max(this.highestStartOf(this.self), this.#own.startNumber);
    this.#repair.heard(peer, told.digest, lacksOwn);
  }

  syncedAtMs(peer: PeerId): number | undefined {
    return this.#repair.syncedAtMs(peer);
  }

  counts(): ReplicaCounts {
    return this.#intake.counts();
  }

  async #becomeReady(): Promise<void> {
    const { clock, mesh, log } = this.#parts;
    const before = this.#rememberedStart;
    const facts = (): { lost: boolean; acceptLostStore: boolean; neighboursExpected: boolean } => ({
      lost: this.#opened?.lost ?? false,
      acceptLostStore: this.#settings.acceptLostStore,
      neighboursExpected: this.#settings.neighboursExpected || this.#intake.admitted.size > 1,
    });
    const onStuck = (stuck: boolean): void => {
      if (stuck && this.#standing === "refilling")
        log.warn({}, "the store is lost and no neighbour is reached: waiting; cc-peer run --accept-lost-store goes on without what was lost");
      this.#standing = stuck ? "waiting-lost" : "refilling";
    };
    const { signal } = this.#stopped;
    const why = await refill({ mesh, clock, log, facts, onStuck, reconcile: (peer) => reconcileWith(peer, this.#repairParts, signal) }, signal);
    if (why === "accepted-loss") await this.take(await this.#parts.beside(), this.self);
    const highest = Math.max(this.#rememberedStart, this.highestStartOf(this.self));
    const found = { remembered: before, heldElsewhere: highest, records: this.#metWhileRefilling };
    if (highest > before || found.records > 0) log.warn(found, "this host's store was older than what is held of it elsewhere: refilled");
    await this.#log().stage({ meta: { [META_START]: String(highest + 1), ...this.loss.meta } });
    this.#own.begin(highest + 1);
    this.#standing = "ready";
    await this.#identityCopy.save();
    this.#repair.start();
    this.#ready.resolve();
  }

  #sign(drafts: readonly Draft[], nowMs: number): StoredRecord[] {
    return drafts.map((draft) => this.#own.sign(draft, this.#intake.book.index.get(entryIdOf({ key: draft.key, writer: this.self })), nowMs));
  }

  #takeIn(frames: readonly RecordFrame[], from: PeerId): { readonly taken: Intaken; readonly fsynced: Promise<void> } {
    const log = this.#log();
    const nowMs = this.#nowMs();
    const taken = this.#intake.take(frames, from, nowMs);
    for (const record of taken.stored) this.#own.observe(record, nowMs);
    if (taken.dropped > 0) this.#drops.say(from, this.#intake.drops, nowMs);
    if (this.#standing !== "ready") this.#metWhileRefilling += taken.own.length;
    const rewritten = this.#standing === "ready" && taken.own.length > 0 ? this.#rewriteAbove(taken.own, nowMs) : undefined;
    return { taken, fsynced: this.#commit(log, rewritten === undefined ? [taken] : [taken, rewritten]) };
  }

  async #hold(frames: readonly RecordFrame[], from: PeerId): Promise<number> {
    const { taken, fsynced } = this.#takeIn(frames, from);
    await fsynced;
    return taken.held;
  }

  /** Own records newer than remembered: what this life wrote is what counts, the rest is adopted; either stands above what came. */
  #rewriteAbove(own: Intaken["own"], nowMs: number): Intaken {
    this.#own.raiseAbove(Math.max(0, ...own.map(({ met }) => met.version.major)));
    this.#parts.log.warn({ records: own.length, startNumber: this.#own.startNumber }, "met own records newer than this host remembers; they are written above");
    const records = this.#sign(this.#own.rewritten(own), nowMs);
    this.#spread.add(records.map((record) => record.frame));
    return this.#intake.put(records, nowMs);
  }

  /** Resolves when all of these, and what was staged before, are fsynced; readers are told then. */
  #commit(log: CommitLog, batches: readonly Intaken[]): Promise<void> {
    const visible = batches.flatMap((batch) => batch.visible);
    const put = batches.flatMap((batch) => batch.stored).map((record) => ({ id: entryIdOf(record), frame: toBinary(RecordFrameSchema, record.frame) }));
    const remove = batches.flatMap((batch) => batch.removed);
    const meta: Record<string, string> = {};
    if (batches.some((batch) => batch.restamped)) meta[META_STAMPS] = this.#intake.stamps.save();
    if (batches.some((batch) => batch.own.length > 0) && this.#standing === "ready") meta[META_START] = String(this.#own.startNumber);
    if (put.length + remove.length + Object.keys(meta).length === 0) return log.settled();
    const fsynced = log.stage({ put, remove, meta }, () => this.#tell(visible));
    fsynced.catch((error: unknown) => this.#fail(error));
    return fsynced;
  }

  #tell(changed: readonly StoredRecord[]): void {
    if (changed.length === 0) return;
    this.#listeners.tell(changed);
    if (this.#standing === "ready" && changed.some(({ key }) => liesBeside(key))) void this.#identityCopy.save();
  }

  #hear(data: Uint8Array, from: PeerId): "accept" | "ignore" | "reject" {
    const records = decodeGossip(data);
    if (records === undefined || this.#log().backlogBytes > COMMIT_BACKLOG_BYTES_MAX) return "ignore";
    const { taken, fsynced } = this.#takeIn(records.frames, from);
    // A disk that failed is told by `#commit`; gossip has nobody to tell.
    fsynced.catch(() => undefined);
    const verdict = gossipVerdict(records.frames, taken.dropped, from, this.#parts.verifier);
    // Not passed on as it is: its good records are.
    if (verdict !== "accept") this.#spread.add(taken.stored.map((record) => record.frame));
    return verdict;
  }

  #tick(): void {
    if (this.#stopped.signal.aborted) return;
    this.#tell(this.#intake.book.releaseDue(this.#nowMs()));
    this.#cancelTick = this.#parts.clock.after(TICK_MS, () => this.#tick());
  }

  mustBeReady(): void {
    if (this.#standing !== "ready") throw whyNotReady(this.#standing);
  }

  #log(): CommitLog {
    if (this.#commits !== undefined && !this.#stopped.signal.aborted) return this.#commits;
    throw new CcError("STARTING", "this host's records are not open");
  }

  #nowMs(): number {
    return this.#parts.clock.nowMs() + this.#parts.liveness.medianOffsetMs();
  }

  #fail(error: unknown): void {
    if (this.#stopped.signal.aborted || this.#standing === "failed") return;
    this.#standing = "failed";
    this.#parts.log.error({ error: asCcError(error).message }, "records can't be stored any more; this peer has to be restarted");
    this.#ready.reject(new CcError("INTERNAL", `the disk refused a write (${asCcError(error).message}): start the peer again when the disk is well`));
  }
}
