import { fromBinary } from "@bufbuild/protobuf";
import { ClaimSchema, PhaseSchema, type RecordFrame, type SignedRequest, StampedRequestSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { CcError, type ContainerId, isContainerId, type PeerId, type RecordKey, type Zone } from "../../../src/base/index.ts";
import { openAward } from "../../../src/placement/award.ts";
import type { Holding, KnownContainer, PlacementView } from "../../../src/placement/index.ts";
import {
  buildRecord,
  checkFrame,
  type Draft,
  parseRecordKey,
  type Replica,
  type StoredRecord,
  type WriteOptions,
  type Written,
} from "../../../src/state/index.ts";
import { cheapVerifier, requests, sha } from "./fake-requests.ts";
import type { SimHost } from "./sim-host.ts";

/** Records in memory with real frames, a disk of 2 ms and gossip to whoever is up. */
export class FakeReplica implements Replica {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly #host: SimHost;
  readonly records = new Map<string, StoredRecord>();
  readonly byContainer = new Map<ContainerId, Map<string, StoredRecord>>();
  readonly loss = { isOpen: false, end: () => Promise.resolve() };
  readonly #listeners = new Set<(changed: readonly StoredRecord[]) => void>();
  #minor = 0;
  writeMs = 2;
  failWrites: "INTERNAL" | "STARTING" | undefined;

  constructor(host: SimHost) {
    this.#host = host;
    this.self = host.peer;
    this.zone = host.zone;
  }

  get(key: RecordKey): StoredRecord | undefined {
    return this.list(key).find((record) => record.key === key);
  }

  list(prefix: string): readonly StoredRecord[] {
    return [...this.records.values()].filter((record) => record.key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  stamp(draft: Draft): Promise<StoredRecord> {
    this.#minor += 1;
    const major = draft.key.startsWith("host/") ? 1 : this.#host.clock.nowMs();
    return Promise.resolve(
      buildRecord({ key: draft.key, version: { major, minor: this.#minor }, final: draft.final === true, content: draft.content }, this.self, {
        sign: this.#host.sign,
      }),
    );
  }

  async write(drafts: readonly Draft[], options: WriteOptions = {}): Promise<Written> {
    const records = await Promise.all(drafts.map((draft) => this.stamp(draft)));
    await this.#host.world.time.sleep(this.writeMs);
    if (this.failWrites !== undefined) throw new CcError(this.failWrites, this.failWrites === "INTERNAL" ? "the disk is full" : "the records are closed");
    const frames = [...(options.beside ?? []), ...records.map((record) => record.frame)];
    this.store(frames);
    const others = this.#host.world.hosts.filter((other) => other !== this.#host && this.#host.world.isUp(this.#host, other));
    for (const other of others) void this.#host.world.deliver(this.#host, other, "gossip", () => other.replica.store(frames));
    return { records, copies: (options.copies ?? 2) === 2 && others.length > 0 ? 2 : 1 };
  }

  async take(frames: readonly RecordFrame[]): Promise<{ taken: readonly StoredRecord[]; dropped: number }> {
    await this.#host.world.time.sleep(this.writeMs);
    const taken = this.store(frames);
    return { taken, dropped: 0 };
  }

  store(frames: readonly RecordFrame[]): StoredRecord[] {
    const taken: StoredRecord[] = [];
    for (const frame of frames) {
      const checked = checkFrame(frame, cheapVerifier);
      if (!checked.ok) continue;
      const { record } = checked;
      const entry = `${record.key}!${record.writer}`;
      const known = this.records.get(entry);
      if (
        known !== undefined &&
        (known.final ||
          known.version.major > record.version.major ||
          (known.version.major === record.version.major && known.version.minor >= record.version.minor))
      )
        continue;
      this.records.set(entry, record);
      const id = parseRecordKey(record.key)?.id ?? "";
      if (isContainerId(id)) this.byContainer.set(id, (this.byContainer.get(id) ?? new Map()).set(entry, record));
      taken.push(record);
    }
    if (taken.length > 0) for (const listener of this.#listeners) listener(taken);
    return taken;
  }

  onChange(listener: (changed: readonly StoredRecord[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  syncedAtMs(): number | undefined {
    return undefined;
  }

  digest(): Uint8Array {
    return sha(...[...this.records.values()].map((record) => record.hash));
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }
}

/** What the records say, by the rules that matter to placement. */
export function viewOf(host: SimHost): PlacementView {
  const container = (id: ContainerId): KnownContainer | undefined => {
    const records = [...(host.replica.byContainer.get(id)?.values() ?? [])];
    let request: SignedRequest | undefined;
    const phases = new Map<PeerId, string>();
    for (const record of records) {
      const key = parseRecordKey(record.key);
      if (key?.family === "user") request = fromBinary(StampedRequestSchema, record.content).request;
      if (key?.family === "host" && key.kind === "phase") phases.set(key.peer, fromBinary(PhaseSchema, record.content).phase);
    }
    const claims: Holding[] = [];
    for (const record of records) {
      const key = parseRecordKey(record.key);
      if (key?.family !== "host" || key.kind !== "claim") continue;
      const claim = fromBinary(ClaimSchema, record.content);
      const award = claim.warrant?.kind.case === "award" ? openAward(claim.warrant.kind.value, cheapVerifier) : undefined;
      if (award?.ok !== true || award.value.holder !== key.peer || award.value.epoch !== claim.epoch) continue;
      claims.push({ holder: key.peer, epoch: claim.epoch });
    }
    if (request === undefined && claims.length === 0) return undefined;
    const standing = claims.filter((claim) => phases.get(claim.holder) !== "yielded").sort((a, b) => b.epoch - a.epoch || (a.holder < b.holder ? -1 : 1));
    const best = standing[0];
    return {
      request,
      best,
      highestEpoch: Math.max(0, ...claims.map((claim) => claim.epoch)),
      removed: best !== undefined && phases.get(best.holder) === "gone",
    };
  };
  return {
    container,
    liveByName: (name) =>
      [...host.replica.byContainer.keys()].filter((id) => {
        const known = container(id);
        const read = known?.request === undefined || known.removed ? undefined : requests.read(known.request);
        return read?.ok === true && read.value.requirements.name === name;
      }),
    recordsOf: () => [],
    hosts: () => host.world.hosts.map(({ peer, name, zone }) => ({ peer, name, zone })),
  };
}
