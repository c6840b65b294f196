import type { ContainerId } from "../../../src/base/index.ts";
import { publicKeyOfPeer } from "../../../src/identity/index.ts";
import type { ContainerView, StoredRecord } from "../../../src/state/index.ts";
import type { Ask } from "../user.ts";
import type { World } from "../world.ts";
import { liveHosts } from "./reach.ts";

const SIGNED_PREFIX = Buffer.from("cc-record-1\n");

/** Nobody writes for another: signatures hold, and whatever counts was asked for by somebody who may. */
export class WarrantWatch {
  readonly #world: World;
  /** Containers that were handed to a lying host, which may do with them what it likes. */
  readonly #handed = new Set<string>();
  readonly #checked = new WeakSet<StoredRecord>();

  constructor(world: World) {
    this.#world = world;
    world.watchers.onCall.push(({ to, name, request }) => {
      if (name !== "awardContainer" || !world.liars.has(to)) return;
      const { request: frame } = (request as { award?: { request?: { payload: Uint8Array } } }).award ?? {};
      const id = /c[a-z2-7]{20}/.exec(Buffer.from(frame?.payload ?? []).toString("latin1"))?.[0];
      if (id !== undefined) this.#handed.add(id);
    });
  }

  /** The container itself, or a wish about it. */
  isHanded(id: ContainerId): boolean {
    return (
      this.#handed.has(id) || this.#world.asks.some((ask) => (ask.id === id || names(ask, id)) && ask.endpoints.some((endpoint) => this.#isLiars(endpoint)))
    );
  }

  check(): void {
    for (const { name, life } of liveHosts(this.#world)) {
      const { replica, view } = life.core;
      for (const record of [...replica.list("host/"), ...replica.list("user/"), ...replica.list("admin/")]) this.#checkRecord(name, record);
      this.#checkPowers(name, view);
      for (const container of view.containers()) this.#checkContainer(name, container);
    }
  }

  #checkRecord(at: string, record: StoredRecord): void {
    if (this.#checked.has(record)) return;
    this.#checked.add(record);
    const key = publicKeyOfPeer(record.writer);
    const holds = key.ok && this.#world.keys.verifier.verify(key.value, Buffer.concat([SIGNED_PREFIX, record.frame.payload]), record.frame.signature);
    if (!holds) this.#world.violate("own-records", `${at} has a record at ${record.key} that ${this.#name(record.writer)} did not sign`);
    if (record.key.startsWith("host/") && record.key.split("/")[1] !== record.writer)
      this.#world.violate("own-records", `${at} has a record at ${record.key} of ${this.#name(record.writer)}`);
  }

  #checkPowers(at: string, view: NonNullable<World["hosts"][number]["life"]>["core"]["view"]): void {
    const keys = new Set<string>([...this.#world.users.map(({ keyId }) => keyId), view.authority().rootKeyId, ...this.#world.knownKeys]);
    for (const { keyId, state } of view.keys())
      if (state === "live" && !keys.has(keyId)) this.#world.violate("own-records", `${at} holds the key ${keyId} to be valid, which nobody who may has signed`);
    const hosts = new Set<string>(this.#world.hosts.flatMap((host) => host.identity?.peer ?? []));
    for (const { peer } of view.members())
      if (!hosts.has(peer)) this.#world.violate("own-records", `${at} holds ${peer} to be a member, which nobody admitted`);
    for (const [removed] of view.authority().removals) {
      if (!this.#asked("RemoveHost", removed)) this.#world.violate("own-records", `${at} holds ${this.#name(removed)} to be removed, which nobody asked for`);
    }
  }

  #checkContainer(at: string, container: ContainerView): void {
    const { id, wanted, best } = container;
    const named = this.#name(id);
    if (!this.#world.asks.some((ask) => ask.id === id)) this.#world.violate("own-records", `${at} has the container ${id}, which nobody asked for`);
    if (wanted !== undefined && !this.#asked(wanted.call, id, wanted.token))
      this.#world.violate("own-records", `${at} shows a ${wanted.call} of ${named} that nobody asked for`);
    if (best !== undefined && this.#world.liars.has(best.holder) && !this.isHanded(id))
      this.#world.violate("own-records", `${at} holds ${named} to be at the lying ${this.#name(best.holder)}, to which nobody gave it`);
  }

  #asked(call: string, subject: string, token?: string): boolean {
    return this.#world.asks.some((ask) => ask.call === call && (token === undefined || ask.token === token) && names(ask, subject));
  }

  #isLiars(endpoint: string): boolean {
    return this.#world.hosts.some((host) => host.endpoint === endpoint && host.identity !== undefined && this.#world.liars.has(host.peer));
  }

  #name(id: string): string {
    return this.#world.history.nameOf(id);
  }
}

function names(ask: Ask, subject: string): boolean {
  return JSON.stringify(ask.request).includes(`"${subject}"`);
}
