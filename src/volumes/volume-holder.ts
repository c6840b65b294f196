import type { AwardRequest } from "../api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, CcError, type ContainerId, isVolumeId, ok, type PeerId, type Result, refuse, sleep, type VolumeId } from "../base/index.ts";
import { openAward, type VolumesHere, volumeUsesHere } from "../placement/index.ts";
import { type Draft, parseRecordKey, type StoredRecord, type Written } from "../state/index.ts";
import { decideHandOver, decideHold, type KnownVolume, ownHolding, roomFor } from "./decide.ts";
import type { VolumeHolderParts } from "./holder-parts.ts";
import { acceptedRecord, birthRecord, changedRecord, handedRecord } from "./holding-records.ts";
import { LeftoverFiles } from "./leftover-files.ts";

/** Between the two steps of a delete. */
const HOLD_MS = 10_000;
const HAND_OVER_MS = 1_000;
/** Changes are told as they come; the loop is for what a missed one left. */
const RECONCILE_EVERY_MS = 10_000;

const NOT_READY = refuse("STARTING", "this host is not ready yet; try again in a moment");

type Hold = { readonly by: string; readonly untilMs: number };

/**
 * This host's part in volumes: it holds those that were made through it or handed to it, counts what they take, hands a fresh
 * one to the host of its first container, and deletes. Attach, hand-over and delete of one volume meet here: each decides and
 * marks in one synchronous step, so that of two at once one is refused.
 */
export class VolumeHolder implements VolumesHere {
  readonly #parts: VolumeHolderParts;
  readonly #reserved = new Map<ContainerId, readonly VolumeId[]>();
  readonly #holds = new Map<VolumeId, Hold>();
  /** Hand-overs whose record is on its way to the disk. */
  readonly #handing = new Map<VolumeId, Promise<void>>();
  readonly #readying = new Map<VolumeId, Promise<void>>();
  readonly #leftover: LeftoverFiles;
  #uses: ReadonlyMap<VolumeId, readonly ContainerId[]> | undefined;
  #ring = (): void => undefined;
  #running: AbortController | undefined;
  #undo: () => void = () => undefined;

  constructor(parts: VolumeHolderParts) {
    this.#parts = parts;
    this.#leftover = new LeftoverFiles({ self: parts.mesh.self, ...parts });
    parts.mesh.handle("handOverVolume", async (message, from) => {
      if (!isVolumeId(message.volume) || message.award === undefined) throw new CcError("BAD_REQUEST", "this is not a hand-over's request");
      const given = await this.#asked(message.volume, message.award, from);
      const frames = this.#frames(message.volume);
      return given.ok ? { frames } : { code: given.code, reason: given.message, frames };
    });
  }

  /** To be called when the replica is ready: a host acts on nothing before it has synced. */
  start(): void {
    if (this.#running !== undefined) return;
    const running = new AbortController();
    this.#running = running;
    this.#uses = undefined;
    this.#undo = this.#parts.replica.onChange((changed) => this.#onChange(changed));
    void this.#reconcile(running.signal);
  }

  stop(): void {
    this.#running?.abort(new CcError("CANCELLED", "this host's volumes are no longer looked after"));
    this.#running = undefined;
    this.#undo();
  }

  room(volumes: readonly VolumeId[]): Result<{ readonly bytes: number; readonly foreign: number }> {
    let bytes = 0;
    let foreign = 0;
    for (const id of volumes) {
      const room = roomFor(this.#known(id));
      if (!room.ok) return room;
      bytes += room.value.bytes;
      foreign += Number(room.value.isForeign);
    }
    return ok({ bytes, foreign });
  }

  countedBytes(): number {
    let bytes = 0;
    for (const { id, holder, state, gone, sizeBytes } of this.#parts.view.volumes()) {
      const isKept = holder === this.#self && (gone ? this.#leftover.has(id) : state === "mounted");
      if (isKept || (!gone && this.usersHere(id).length > 0)) bytes += sizeBytes;
    }
    return bytes;
  }

  reserve(id: ContainerId, volumes: readonly VolumeId[]): void {
    if (volumes.length > 0) this.#reserved.set(id, volumes);
  }

  settle(id: ContainerId): void {
    this.#reserved.delete(id);
  }

  async bind(id: ContainerId, award: AwardRequest): Promise<Result<readonly Draft[]>> {
    const drafts: Draft[] = [];
    for (const volume of this.#reserved.get(id) ?? []) {
      const bound = await this.#obtain(volume, award);
      if (!bound.ok) return bound;
      if (bound.value !== undefined) drafts.push(bound.value);
    }
    return ok(drafts);
  }

  /** Containers claimed here, or being claimed, that mount it; ended ones too. */
  usersHere(id: VolumeId): readonly ContainerId[] {
    this.#uses ??= volumeUsesHere(this.#parts);
    const claimed = this.#uses.get(id) ?? [];
    const reserved = [...this.#reserved].flatMap(([container, volumes]) => (volumes.includes(id) && !claimed.includes(container) ? [container] : []));
    return [...claimed, ...reserved];
  }

  /**
   * Makes a container's volumes fit to be attached on this host: formats those that were never used, after which they stay
   * here. Throws CcError: CONFLICT (this host does not hold it), VOLUME_DAMAGED (it was used, and its data is not here), NO_ROOM.
   */
  async ready(volumes: readonly VolumeId[]): Promise<void> {
    for (const id of volumes) {
      const readying = this.#readying.get(id) ?? this.#makeReady(id).finally(() => this.#readying.delete(id));
      this.#readying.set(id, readying);
      await readying;
    }
  }

  /** First step of a delete: until its second, 10 s at most, nobody attaches it. `by` is the request that deletes. */
  hold(id: VolumeId, by: string): Result<true> {
    // What a neighbour knows of its users may not be here yet.
    if (this.#running === undefined) return NOT_READY;
    const held = this.#holdOf(id);
    if (held !== undefined && held.by !== by) return refuse("CONFLICT", `volume ${id} is being deleted by another request`);
    if (this.#handing.has(id)) return refuse("CONFLICT", `volume ${id} is being handed to the host of a container; try again`);
    const decided = decideHold(this.#known(id), (user) => this.#parts.view.container(user)?.name || user);
    if (!decided.ok) return decided;
    this.#holds.set(id, { by, untilMs: this.#parts.clock.monotonicMs() + HOLD_MS });
    return ok(true);
  }

  release(id: VolumeId, by: string): void {
    if (this.#holds.get(id)?.by === by) this.#holds.delete(id);
  }

  /** Second step: gone for good once it resolves. `beside` are the user's request as stamped, stored in the same batch. */
  async deleteHeld(ids: readonly VolumeId[], by: string, beside: readonly RecordFrame[], signal: AbortSignal | undefined): Promise<Result<Written>> {
    const lapsed = ids.find((id) => this.#holdOf(id)?.by !== by);
    if (lapsed !== undefined) return refuse("TIMEOUT", `the hold on volume ${lapsed} lapsed before it was deleted; nothing of it was; try again`);
    const drafts = ids.flatMap((id) => {
      const volume = this.#parts.view.volume(id);
      const own = ownHolding(this.#known(id));
      return own === undefined || volume?.gone === true ? [] : [changedRecord(this.#parts.replica, own, "gone", this.#parts.clock.nowMs())];
    });
    // Nobody may get it while the disk is at it, however long that takes.
    for (const id of ids) this.#holds.set(id, { by, untilMs: Number.POSITIVE_INFINITY });
    try {
      const written = await this.#parts.replica.write(drafts, { beside, ...(signal && { signal }) });
      await this.#leftover.clear(ids, (id) => this.#readying.has(id));
      return ok(written);
    } finally {
      for (const id of ids) this.#holds.delete(id);
      this.#ring();
    }
  }

  /** A new volume's first record. */
  birth(id: VolumeId, stamped: StoredRecord): Draft {
    return birthRecord(this.#parts.replica, id, stamped, this.#parts.clock.nowMs());
  }

  get #self(): PeerId {
    return this.#parts.mesh.self;
  }

  #known(id: VolumeId): KnownVolume {
    return {
      self: this.#self,
      id,
      volume: this.#parts.view.volume(id),
      usersHere: this.usersHere(id),
      isHeld: this.#holdOf(id) !== undefined || this.#handing.has(id),
    };
  }

  #holdOf(id: VolumeId): Hold | undefined {
    const held = this.#holds.get(id);
    if (held === undefined || held.untilMs > this.#parts.clock.monotonicMs()) return held;
    this.#holds.delete(id);
    return undefined;
  }

  /** Undefined: this host has it already, and its records say so. */
  async #obtain(id: VolumeId, award: AwardRequest): Promise<Result<Draft | undefined>> {
    const { view, mesh, replica } = this.#parts;
    const before = view.volume(id);
    if (before === undefined) return refuse("NOT_FOUND", `there is no volume ${id}`);
    if (before.holder === this.#self) return ok(this.#accepted(id));
    try {
      const reply = await mesh.call(before.holder, "handOverVolume", { volume: id, award }, { timeoutMs: HAND_OVER_MS });
      await replica.take(reply.frames, before.holder);
      if (view.volume(id)?.holder === this.#self) return ok(this.#accepted(id));
      return refuse("CONFLICT", reply.reason || "the volume's host did not hand it over");
    } catch (thrown) {
      return refuse("HOST_UNREACHABLE", `the host that holds volume ${before.name || id} did not answer (${asCcError(thrown).code})`);
    }
  }

  #accepted(id: VolumeId): Draft | undefined {
    return acceptedRecord(this.#parts.replica, this.#parts.view.volume(id), this.#parts.clock.nowMs());
  }

  /** Another host was awarded a container with this volume: it proves that by the award itself. */
  async #asked(id: VolumeId, award: AwardRequest, from: PeerId): Promise<Result<true>> {
    if (this.#running === undefined) return NOT_READY;
    const opened = openAward(award.award, this.#parts.verifier);
    if (!opened.ok) return opened;
    if (opened.value.holder !== from) return refuse("WRONG_PEER", "the award is another host's");
    const checked = await this.#parts.requests.check(opened.value.request);
    if (!checked.ok) return checked;
    if (checked.value.addressedTo !== opened.value.requester || !checked.value.requirements.volumes.includes(id))
      return refuse("WRONG_PEER", "the award's request does not name this volume");
    return this.#handOver(id, from);
  }

  async #handOver(id: VolumeId, to: PeerId): Promise<Result<true>> {
    await this.#handing.get(id)?.catch(() => undefined);
    const decided = decideHandOver(this.#known(id), to);
    const own = ownHolding(this.#known(id));
    if (!decided.ok) return decided;
    if (decided.value === "done") return ok(true);
    if (own === undefined) return refuse("CONFLICT", `volume ${id} is not written to this host's name yet; try again`);
    const { signer, clock, replica } = this.#parts;
    const draft = handedRecord(replica, own, to, signer, clock.nowMs());
    // On this disk before anybody hears of it: a giver that forgot it would give it to another, too.
    const done = replica.write([draft], { copies: 1, isClaim: true }).then(() => undefined);
    this.#handing.set(id, done);
    try {
      await done;
      this.#parts.log.info({ volume: id, to, epoch: own.epoch + 1 }, "volume handed over");
      return ok(true);
    } finally {
      this.#handing.delete(id);
    }
  }

  async #makeReady(id: VolumeId): Promise<void> {
    const { view, files, replica } = this.#parts;
    const volume = view.volume(id);
    const own = ownHolding(this.#known(id));
    if (volume === undefined || own === undefined || volume.gone || volume.holder !== this.#self)
      throw new CcError("CONFLICT", `this host does not hold volume ${volume?.name || id}${volume?.gone === true ? ", which was deleted" : ""}`);
    if (own.state === "mounted") {
      if ((await files.usage(id)) !== undefined) return;
      throw new CcError("VOLUME_DAMAGED", `volume ${volume.name || id} was used on this host, but its files are not there; no empty one is made in its place`);
    }
    await files.ensureReady(id, volume.sizeBytes);
    this.#leftover.noteMade(id);
    // Before the first mount: from now on it stays here.
    await replica.write([changedRecord(replica, own, "mounted", this.#parts.clock.nowMs())], { copies: 1, isClaim: true });
  }

  #frames(id: VolumeId): RecordFrame[] {
    return this.#parts.view.volume(id)?.holdings.map(({ record }) => record.frame) ?? [];
  }

  #onChange(changed: readonly StoredRecord[]): void {
    let isAbout = false;
    for (const record of changed) {
      const key = parseRecordKey(record.key);
      if (key?.family === "host" && key.peer === this.#self && (key.kind === "claim" || key.kind === "phase")) this.#uses = undefined;
      if (key !== undefined && isVolumeId(key.id)) isAbout = true;
    }
    if (isAbout) this.#ring();
  }

  async #reconcile(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const rung = new Promise<void>((resolve) => {
        this.#ring = resolve;
      });
      try {
        await this.#converge();
      } catch (thrown) {
        if (!signal.aborted) this.#parts.log.error({ err: asCcError(thrown) }, "volumes could not be looked after; trying again");
      }
      const waited = new AbortController();
      const paused = sleep(this.#parts.clock, RECONCILE_EVERY_MS, AbortSignal.any([signal, waited.signal]));
      await Promise.race([rung, paused.catch(() => undefined)]); // Aborted: the loop ends.
      waited.abort(); // Rung: no timer is left behind.
    }
  }

  /** Level-triggered: what was handed here is accepted, what is gone or was handed away is cleared. */
  async #converge(): Promise<void> {
    const { view, replica } = this.#parts;
    const accepted = view.volumes().flatMap(({ id }) => this.#accepted(id) ?? []);
    if (accepted.length > 0) await replica.write(accepted, { copies: 1, isClaim: true });
    await this.#leftover.look((id) => this.#readying.has(id));
  }
}
