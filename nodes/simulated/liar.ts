import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RecordsSchema } from "../../src/api/gen/cc/v1/mesh_pb.ts";
import {
  AwardTermsSchema,
  ClaimSchema,
  PhaseSchema,
  type RecordFrame,
  RecordFrameSchema,
  RecordPayloadSchema,
  StampedRequestSchema,
} from "../../src/api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../../src/base/index.ts";
import { base64Url, keyIdOf, peerIdOf, type SignedRequest } from "../../src/identity/index.ts";
import { RECORDS_TOPIC } from "../../src/mesh/index.ts";
import type { ContainerView, StoredRecord } from "../../src/state/index.ts";
import { Forger, VERSION_MAX } from "./forger.ts";
import type { SimulatedHost } from "./host.ts";
import { type LyingAnswer, twistAnswer } from "./lying-answers.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

/**
 * A stolen host: an admitted member with its own key and everything that it is handed, and code of its own. It forges,
 * replays, restamps and lies in every answer; it never has another's key.
 */
export class Liar {
  readonly host: SimulatedHost;
  readonly #world: World;
  readonly #random: SeededRandom;
  readonly #captured = new Map<string, RecordFrame>();
  readonly #forger: Forger;
  readonly #attacks: readonly (readonly [string, () => void])[];

  constructor(world: World, host: SimulatedHost, random: SeededRandom) {
    this.#world = world;
    this.host = host;
    this.#random = random;
    this.#forger = new Forger(world, host, random);
    world.liars.add(host.peer);
    this.#attacks = [
      ["claims what runs elsewhere", () => this.#claim()],
      ["writes another's phase", () => this.#phase()],
      ["deletes", () => this.#delete()],
      ["twists words", () => this.#twistWords()],
      ["makes a key", () => this.#makeKey()],
      ["revokes and removes", () => this.#revoke()],
      ["restamps", () => this.#restamp()],
      ["replays", () => this.#replay()],
      ["floods", () => this.#flood()],
      ["sends rubbish", () => this.#rubbish()],
      ["awards", () => this.#award()],
    ];
  }

  /** Lies in answers from now on, in this life and in later ones. `kinds`: which calls. */
  lieInAnswers(kinds: readonly LyingAnswer[]): void {
    const twist = (): void => {
      for (const kind of kinds) twistAnswer({ world: this.#world, host: this.host, random: this.#random }, kind);
    };
    twist();
    this.#world.watchers.onReady.push((ready) => {
      if (ready === this.host) twist();
    });
  }

  async attack(untilMs: number, everyMs: number): Promise<void> {
    while (this.#world.timeline.nowMs < untilMs) {
      await this.#world.sleep(this.#random.between(everyMs / 2, (3 * everyMs) / 2));
      this.#capture();
      const [what, act] = this.#random.pick(this.#attacks) ?? [];
      if (this.host.life === undefined || what === undefined || act === undefined) continue;
      this.#world.history.add(this.host.name, `LIES: ${what}`);
      act();
    }
  }

  /** One attack by name, for a directed history. */
  do(what: string): void {
    this.#capture();
    this.#world.history.add(this.host.name, `LIES: ${what}`);
    this.#attacks.find(([name]) => name === what)?.[1]();
  }

  get #core(): NonNullable<SimulatedHost["life"]>["core"] {
    if (this.host.life === undefined) throw new TypeError("the liar is down");
    return this.host.life.core;
  }

  get #records(): readonly StoredRecord[] {
    const { replica } = this.#core;
    return [...replica.list("admin/"), ...replica.list("host/"), ...replica.list("user/")];
  }

  /** The first version of everything, to be played back later. */
  #capture(): void {
    if (this.host.life === undefined) return;
    for (const record of this.#records)
      if (!this.#captured.has(`${record.key} ${record.writer}`)) this.#captured.set(`${record.key} ${record.writer}`, record.frame);
  }

  #victim(): PeerId | undefined {
    return this.#random.pick(this.#world.hosts.filter((host) => host !== this.host && host.identity !== undefined).map(({ peer }) => peer));
  }

  #container(): ContainerView | undefined {
    return this.#random.pick(this.#core.view.containers().filter((container) => !container.gone));
  }

  /** By gossip and straight into a victim's hands. */
  #spread(frames: readonly RecordFrame[]): void {
    const { mesh } = this.#core;
    mesh.publish(RECORDS_TOPIC, toBinary(RecordsSchema, create(RecordsSchema, { frames: [...frames] })));
    const victim = this.#victim();
    if (victim !== undefined && mesh.connected().includes(victim))
      mesh.call(victim, "putRecords", { frames: [...frames] }, { timeoutMs: 1_000 }).catch(() => undefined);
  }

  #claim(): void {
    const container = this.#container();
    const warrant = container?.claims[0]?.claim.warrant;
    if (container === undefined || warrant?.kind.case !== "award" || warrant.kind.value.request === undefined) return;
    const epoch = this.#random.pick([2 ** 32 - 1, 64, container.highestEpoch + 1]) ?? 64;
    const { request } = warrant.kind.value;
    const signed = toBinary(
      AwardTermsSchema,
      create(AwardTermsSchema, {
        container: container.id,
        epoch,
        holder: this.host.peer,
        requestHash: container.claims[0]?.create.record.hash ?? new Uint8Array(),
        awardedAtMs: 1,
      }),
    );
    const award = { signed, signature: this.#forger.sign(Buffer.concat([Buffer.from("cc-award-1\n"), signed])), request };
    const claim = toBinary(ClaimSchema, create(ClaimSchema, { container: container.id, epoch, warrant: { kind: { case: "award", value: award } } }));
    // Also the true award of another host under its own name.
    const stolen = toBinary(
      ClaimSchema,
      create(ClaimSchema, { container: container.id, epoch: container.highestEpoch, warrant: { kind: { case: "award", value: warrant.kind.value } } }),
    );
    const phase = toBinary(
      PhaseSchema,
      create(PhaseSchema, { container: container.id, epoch, phase: this.#random.pick(["ended", "gone", "running"]) ?? "ended", endedAtMs: 1 }),
    );
    const own = `host/${this.host.peer}/${this.host.identity?.zone}`;
    this.#spread([
      this.#forger.forge(`${own}/claim/${container.id}`, this.#random.chance(0.5) ? claim : stolen),
      this.#forger.forge(`${own}/phase/${container.id}`, phase),
    ]);
  }

  #phase(): void {
    const container = this.#container();
    const holder = container?.best?.holder;
    const zone = this.#world.hosts.find((host) => host.identity?.peer === holder)?.identity?.zone;
    if (container === undefined || holder === undefined || holder === this.host.peer) return;
    const phase = (name: string): Uint8Array =>
      toBinary(
        PhaseSchema,
        create(PhaseSchema, { container: container.id, epoch: container.best?.epoch ?? 1, phase: name, endedAtMs: 1, changedAtMs: VERSION_MAX }),
      );
    const key = `host/${holder}/${zone}/phase/${container.id}`;
    this.#spread([
      this.#forger.forge(key, phase("ended"), { writer: holder }),
      this.#forger.forge(key, phase("gone"), { final: true }),
      this.#forger.forge(key, phase("gone"), { final: true, writer: holder }),
    ]);
  }

  #delete(): void {
    const container = this.#container();
    if (container === undefined) return;
    const key = `user/${container.zone}/wanted/${container.id}`;
    const forged = this.#forger.request("Remove", { containers: [container.id], force: true }, container.keyId);
    this.#spread([this.#forger.stamped(key, forged, true), this.#forger.stamped(`user/${container.zone}/container/${container.id}`, container.request, true)]);
  }

  /** What users really handed to it, used for something else: as a tombstone, and for another container. */
  #twistWords(): void {
    const request = this.#random.pick(this.#handed());
    if (request === undefined) return;
    for (const { id, zone, gone } of this.#core.view.containers()) if (!gone) this.#spread([this.#forger.stamped(`user/${zone}/wanted/${id}`, request, true)]);
  }

  #makeKey(): void {
    const made = this.#world.keys.make(this.#random);
    const fields = { publicKey: base64Url(made.signer.publicKey), role: "admin", name: "eve-2" };
    const frames: RecordFrame[] = [];
    for (const keyId of [this.#world.admin.keyId, keyIdOf(this.host.identity?.signer.publicKey ?? new Uint8Array(32)), keyIdOf(made.signer.publicKey)]) {
      const request = this.#forger.request("CreateKey", fields, keyId);
      frames.push(this.#forger.stamped(`admin/-/key/${keyIdOf(made.signer.publicKey)}-aaaaaaaaaaaaaaaaaaaa`, request, false));
    }
    this.#spread(frames);
  }

  #revoke(): void {
    const victim = this.#victim();
    if (victim === undefined) return;
    const admin = this.#world.admin.keyId;
    const revocation = this.#forger.request("RevokeKey", { key: admin }, admin);
    const removal = this.#forger.request("RemoveHost", { host: victim, force: true, countsToMajor: 1, countsToMinor: 1 }, admin);
    this.#spread([
      this.#forger.stamped(`admin/-/revocation/${admin}-aaaaaaaaaaaaaaaaaaaa`, revocation, false),
      this.#forger.stamped(`admin/-/removal/${victim}-aaaaaaaaaaaaaaaaaaaa`, removal, true),
    ]);
  }

  /** What users really handed to it, stamped again, later, and under other zones' keys. */
  #restamp(): void {
    const frames: RecordFrame[] = [];
    for (const record of this.#records) {
      const request = requestOf(record);
      if (request === undefined || !record.key.startsWith("user/")) continue;
      const other = record.key.replace(/^user\/[^/]+/, `user/${this.#random.pick(["-", "a", "b"])}`);
      frames.push(this.#forger.stamped(record.key, request, record.final), this.#forger.stamped(other, request, record.final));
    }
    this.#spread(frames.slice(0, 64));
  }

  #replay(): void {
    this.#spread([...this.#captured.values()].slice(0, 128));
  }

  /** Records of hosts that nobody knows, each properly signed by a key that the liar made. */
  #flood(): void {
    const frames = Array.from({ length: 60 }, () => {
      const made = this.#world.keys.make(this.#random);
      const writer = peerIdOf(made.signer.publicKey);
      const content = new Uint8Array(64);
      const payload = toBinary(
        RecordPayloadSchema,
        create(RecordPayloadSchema, { key: `host/${writer}/a/facts/self`, versionMajor: 1n, versionMinor: 1n, final: false, writer, content }),
      );
      return create(RecordFrameSchema, { frame: 1, payload, signature: made.signer.sign(Buffer.concat([Buffer.from("cc-record-1\n"), payload])) });
    });
    this.#spread(frames);
  }

  #rubbish(): void {
    const { mesh } = this.#core;
    mesh.publish(RECORDS_TOPIC, this.#random.bytes(200));
    mesh.publish("/cc/bids/1/a", this.#random.bytes(200));
    this.#spread([
      create(RecordFrameSchema, { frame: 1, payload: this.#random.bytes(100), signature: this.#random.bytes(64) }),
      create(RecordFrameSchema, { frame: 2, payload: this.#random.bytes(10) }),
    ]);
    const victim = this.#victim();
    if (victim === undefined || !mesh.connected().includes(victim)) return;
    const range = { from: "z", to: "a", count: 5, digest: this.#random.bytes(32), items: [], listed: true };
    mesh.call(victim, "reconcile", { ranges: [range, range], wanted: ["host/x", "z"] }, { timeoutMs: 1_000 }).catch(() => undefined);
    mesh
      .call(
        victim,
        "observe",
        { timeMs: Number.MAX_VALUE, startNumber: VERSION_MAX, incarnation: VERSION_MAX, highestStartOfYours: VERSION_MAX, digest: this.#random.bytes(3) },
        { timeoutMs: 1_000 },
      )
      .catch(() => undefined);
  }

  /** Awards to others of what it was not asked for, and of what was awarded before. */
  #award(): void {
    const container = this.#container();
    const warrant = container?.claims[0]?.claim.warrant;
    const victim = this.#victim();
    if (container === undefined || warrant?.kind.case !== "award" || victim === undefined || !this.#core.mesh.connected().includes(victim)) return;
    const signed = toBinary(
      AwardTermsSchema,
      create(AwardTermsSchema, {
        container: container.id,
        epoch: 64,
        holder: victim,
        requestHash: container.claims[0]?.create.record.hash ?? new Uint8Array(),
      }),
    );
    const forged = {
      signed,
      signature: this.#forger.sign(Buffer.concat([Buffer.from("cc-award-1\n"), signed])),
      ...(warrant.kind.value.request && { request: warrant.kind.value.request }),
    };
    for (const award of [forged, warrant.kind.value]) this.#core.mesh.call(victim, "awardContainer", { award }, { timeoutMs: 1_000 }).catch(() => undefined);
  }

  /** Requests that users addressed to this host. */
  #handed(): readonly SignedRequest[] {
    return this.#records.flatMap((record) => (record.writer === this.host.peer && record.key.startsWith("user/") ? (requestOf(record) ?? []) : []));
  }
}

/** The signed request in an admin's or user's record. */
function requestOf(record: StoredRecord): SignedRequest | undefined {
  return record.key.startsWith("host/") ? undefined : fromBinary(StampedRequestSchema, record.content).request;
}
