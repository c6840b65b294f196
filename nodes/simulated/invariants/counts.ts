import { fromBinary } from "@bufbuild/protobuf";
import type { ReplyOf, RequestOf } from "../../../src/api/client-messages.ts";
import { PhaseSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isContainerId, type PeerId } from "../../../src/base/index.ts";
import { type ContainerView, compareVersions, hostKey, parseRecordKey } from "../../../src/state/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { World } from "../world.ts";
import { AFTERMATH_MS } from "./asks.ts";
import { unsettledIds } from "./converged.ts";
import type { OnceLive } from "./once-live.ts";
import { isLiar, type LiveHost, liveHosts } from "./reach.ts";

/** Processes that run on hosts that are still members. */
function processesOf(world: World, id: ContainerId): readonly SimulatedHost[] {
  return world.hosts.filter((host) => !host.retired && !isLiar(world, host) && host.machine.bundles.get(id)?.state === "running");
}

type IsHanded = (id: ContainerId) => boolean;

/** All but those that a liar was handed. */
function allIds(world: World, isHanded: IsHanded): readonly ContainerId[] {
  const ids = new Set<ContainerId>(world.runs.map(({ container }) => container));
  for (const { life } of liveHosts(world)) for (const { id } of life.core.view.containers()) ids.add(id);
  const unsettled = unsettledIds(world);
  return [...ids].filter((id) => !unsettled.has(id) && !(world.liars.size > 0 && isHanded(id))).sort();
}

/** The records of a container went down with every disk that had them: what runs of it is named and left. */
function isForgotten(world: World, container: ContainerView | undefined): boolean {
  return container === undefined && world.hosts.some((host) => host.disk.losses > 0 || host.retired);
}

export function checkAtMost(world: World, isHanded: IsHanded): void {
  const [reference] = liveHosts(world);
  for (const id of allIds(world, isHanded)) {
    const container = reference?.life.core.view.container(id);
    const hosts = processesOf(world, id);
    const asked = container === undefined || container.gone || container.best === undefined ? 0 : 1;
    if (hosts.length > asked && !isForgotten(world, container))
      world.violate("at-most", `${world.history.nameOf(id)} runs on ${hosts.map(({ name }) => name).join(" and ")}, asked is ${asked}`);
  }
}

/** What is wrong at two looks in a row is wrong; what is wrong at one may just be on its way. */
export async function checkAsAsked(world: World, isHanded: IsHanded): Promise<void> {
  const before = notAsAsked(world, isHanded);
  if (before.size === 0) return;
  await world.sleep(SETTLE_MS);
  for (const [id, why] of notAsAsked(world, isHanded)) if (before.has(id)) world.violate("as-asked", why);
}

const SETTLE_MS = 2_500;

function notAsAsked(world: World, isHanded: IsHanded): ReadonlyMap<ContainerId, string> {
  const hosts = liveHosts(world);
  const [reference] = hosts;
  const wrong = new Map<ContainerId, string>();
  for (const id of allIds(world, isHanded)) {
    const container = reference?.life.core.view.container(id);
    if (container === undefined || isForgotten(world, container)) continue;
    const holder = hosts.find((host) => host.peer === container.best?.holder);
    const why = whatIsWrong(container, holder, processesOf(world, id), isWriteLost(world) && hasAnsweredLater(container));
    if (why === undefined) continue;
    const state = `phase ${container.phase?.phase ?? "none"}, wanted ${container.wanted?.kind ?? "running"}, at ${holder?.name ?? "nobody"}`;
    wrong.set(id, `${world.history.nameOf(id)} (${state}): ${why}`);
  }
  return wrong;
}

/** The holder has answered a wish that went down with the disks that had it: it keeps to that, as for one whose time has not come again. */
function hasAnsweredLater({ phase, wanted }: ContainerView): boolean {
  return phase !== undefined && compareVersions({ major: phase.wantedMajor, minor: phase.wantedMinor }, wanted?.version ?? { major: 0, minor: 0 }) > 0;
}

function whatIsWrong(container: ContainerView, holder: SimulatedHost | undefined, running: readonly SimulatedHost[], isExcused: boolean): string | undefined {
  const phase = container.phase?.phase ?? "claimed";
  const where = `it runs on ${running.map((host) => host.name).join(" and ") || "no host"}`;
  const wants = !container.gone && (container.wanted?.kind !== "stopped" || isExcused) && holder !== undefined;
  if (wants && phase === "running") return running.length === 1 && running[0] === holder ? undefined : where;
  if (running.length > 0) return where;
  if (!wants || isExcused || phase === "ended" || phase === "failed" || isBusy(holder, container, phase)) return undefined;
  return "nothing becomes of it";
}

/** It waits for what may take longer than the world waits: a pull of minutes, a pause before the next try. */
function isBusy(holder: SimulatedHost, { spec }: ContainerView, phase: string): boolean {
  return phase === "backoff" || (phase === "pulling" && holder.machine.isPulling(spec.image));
}

/** What each host has promised is what its live claims ask for, and what it has left of forgotten ones. */
export function checkNothingHeld(world: World, onceLive: OnceLive): void {
  for (const host of liveHosts(world)) {
    const live = host.life.core.view.containers().filter((container) => container.best?.holder === host.peer && container.phase?.phase !== "gone");
    const left = forgottenAt(world, host, onceLive);
    const used = host.life.core.used();
    const memoryBytes = live.reduce((sum, { spec }) => sum + spec.memoryBytes, 0) + left.reduce((sum, { spec }) => sum + (spec?.memoryBytes ?? 0), 0);
    if (used.containers === live.length + left.length && used.memoryBytes === memoryBytes) continue;
    const held = `${used.containers} places and ${used.memoryBytes / 1024 ** 2} MiB are taken`;
    world.violate(
      "nothing-held",
      `at ${host.name} ${held}, its live containers are ${live.map(({ id }) => world.history.nameOf(id)).join(", ") || "none"} with ${memoryBytes / 1024 ** 2} MiB`,
    );
  }
}

/**
 * What a host's own claims ask for that counted once and do not any more: with a host that was removed by one that had not
 * heard of them went its stamp, on all hosts. What is there of them is left, and keeps its room.
 */
function forgottenAt(world: World, { peer, life }: LiveHost, onceLive: OnceLive): readonly RequestOf<"Run">[] {
  const { replica, view } = life.core;
  return replica.list(`host/${peer}/`).flatMap((record) => {
    const key = parseRecordKey(record.key);
    if (key?.family !== "host" || key.kind !== "claim" || !isContainerId(key.id)) return [];
    if (!isForgotten(world, view.container(key.id)) || !onceLive.has(peer, key.id)) return [];
    const phase = replica.get(hostKey(peer, key.zone, "phase", key.id));
    const hasGone = phase !== undefined && (phase.final || fromBinary(PhaseSchema, phase.content).phase === "yielded");
    const ask = world.asks.find(({ id }) => id === key.id);
    return hasGone || ask === undefined ? [] : [ask.request as RequestOf<"Run">];
  });
}

/** What users were told is done last is what counts. */
export function checkLaterWins(world: World, isHanded: IsHanded): void {
  const [reference] = liveHosts(world);
  const unsettled = unsettledIds(world);
  for (const container of reference?.life.core.view.containers() ?? []) {
    if (unsettled.has(container.id) || (world.liars.size > 0 && isHanded(container.id))) continue;
    const changes = world.asks.filter(
      (ask) => CHANGES.has(ask.call) && ask.outcome === "done" && (ask.reply as ReplyOf<"Stop">).wrote.some(({ key }) => key.endsWith(`/${container.id}`)),
    );
    const counting = world.asks.find((ask) => ask.token === container.wanted?.token);
    // What ended as unknown may have been done, and then at any time.
    if (counting !== undefined && counting.outcome !== "done") continue;
    const last = changes.findLast((ask) => counting === undefined || ask.startedAtMs > (counting.endedAtMs ?? 0));
    if (last === undefined || last.token === counting?.token || container.removed || isWriteLost(world)) continue;
    if (world.wasDisturbed((counting ?? last).startedAtMs - AFTERMATH_MS, last.endedAtMs ?? 0)) continue;
    world.violate(
      "later-wins",
      `${world.history.nameOf(container.id)}: ${last.call} by ${last.user.name} was done at ${last.endedAtMs}, what counts is ${counting?.call ?? "nothing"}`,
    );
  }
}

const CHANGES: ReadonlySet<string> = new Set(["Stop", "Start", "Restart"]);

export function checkRemoved(world: World): void {
  const unsettled = unsettledIds(world);
  for (const ask of world.asks) {
    const reply = ask.reply as ReplyOf<"Remove"> | undefined;
    if (ask.call !== "Remove" || ask.outcome !== "done" || reply === undefined) continue;
    for (const id of reply.done) {
      // Not known to whom could be asked, and some could not be: the answer says so.
      const wrote = reply.wrote.filter(({ key }) => key.endsWith(`/${id}`));
      if (reply.notAsked.length > 0 && wrote.length === 0) continue;
      // That nobody knows it may be a liar's word.
      if (wrote.length === 0 && world.hosts.some((host) => isLiar(world, host) && ask.endpoints.includes(host.endpoint))) continue;
      // A liar may put another record in the place of what it stamped.
      if (wrote.some(({ host }) => world.liars.has(host as PeerId))) continue;
      for (const host of liveHosts(world)) {
        const container = host.life.core.view.container(id as ContainerId);
        if (container !== undefined && !container.gone && !isWriteLost(world) && !unsettled.has(container.id))
          world.violate("stays-removed", `${world.history.nameOf(id)} was removed and is back at ${host.name}`);
      }
    }
  }
}

const isWriteLost = (world: World): boolean => world.hosts.some((host) => host.disk.losses > 0 || host.retired);
