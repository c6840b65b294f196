import { fromBinary } from "@bufbuild/protobuf";
import type { Written } from "../../../src/api/client-messages.ts";
import { RecordFrameSchema, RecordPayloadSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../../../src/base/index.ts";
import { compareVersions, type Version } from "../../../src/state/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Ask } from "../user.ts";
import type { World } from "../world.ts";
import { liveHosts } from "./reach.ts";

type Acknowledged = { readonly written: Written; readonly disks: readonly { readonly host: SimulatedHost; readonly losses: number }[]; readonly what: string };

/** Everything that a user was told is done: on which disks it lay then, and whether it is there when all has healed. */
export class AcknowledgedWrites {
  readonly #world: World;
  readonly #all: Acknowledged[] = [];

  constructor(world: World) {
    this.#world = world;
    world.watchers.onAskEnd.push((ask) => this.#onEnd(ask));
  }

  #onEnd(ask: Ask): void {
    const reply = ask.reply as { readonly wrote?: readonly Written[]; readonly copies?: number } | undefined;
    if (ask.outcome !== "done" || reply?.wrote === undefined) return;
    for (const written of reply.wrote) {
      if (this.#world.liars.has(written.host as PeerId)) continue;
      const what = `${ask.call} by ${ask.user.name}: ${this.#named(written.key)}`;
      const disks = this.#world.hosts.filter((host) => this.#isOnDisk(host, written)).map((host) => ({ host, losses: host.disk.losses }));
      const lost = this.#world.hosts.some((host) => host.disk.losses > 0 || host.retired);
      if (disks.length < Math.max(1, reply.copies ?? 1) && !lost) {
        this.#world.violate(
          "copies",
          `${what} was acknowledged with ${reply.copies} copies and lies on ${disks.map(({ host }) => host.name).join(", ") || "no disk"}`,
        );
      }
      this.#all.push({ written, disks, what });
    }
  }

  /** After healing. */
  check(): void {
    for (const { written, disks, what } of this.#all) {
      if (!disks.some(({ host, losses }) => host.disk.losses === losses && !host.retired)) continue;
      for (const host of liveHosts(this.#world)) {
        // By the disks: a stamp that is ahead of time is stored and not shown yet.
        if (this.#isOnDisk(host, written)) continue;
        this.#world.violate("kept", `${what} was acknowledged and is not at ${host.name}`);
      }
    }
  }

  #isOnDisk(host: SimulatedHost, written: Written): boolean {
    const id = written.key.startsWith("host/") ? written.key : `${written.key}!${written.host}`;
    const bytes = host.disk.fsynced.get(id);
    if (bytes === undefined) return false;
    const { versionMajor, versionMinor, final } = fromBinary(RecordPayloadSchema, fromBinary(RecordFrameSchema, bytes).payload);
    return covers({ final, version: { major: Number(versionMajor), minor: Number(versionMinor) } }, written);
  }

  #named(key: string): string {
    return key
      .split("/")
      .map((part) => this.#world.history.nameOf(part))
      .join("/");
  }
}

function covers(record: { readonly final: boolean; readonly version: Version }, written: Written): boolean {
  return record.final || compareVersions(record.version, { major: written.versionMajor, minor: written.versionMinor }) >= 0;
}
