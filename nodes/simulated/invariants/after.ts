import type { ReplyOf } from "../../../src/api/client-messages.ts";
import type { ContainerId } from "../../../src/base/index.ts";
import type { ContainerView } from "../../../src/state/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { World } from "../world.ts";
import { AFTERMATH_MS } from "./asks.ts";
import { liveHosts } from "./reach.ts";

/** Equal digests within this long of looking: between two looks somebody may just be writing. */
const LOOK_MS = 4_000;
const LOOK_EVERY_MS = 100;

/** Digests and derived views of all live hosts are the same at one moment at least. */
export async function checkConverged(world: World): Promise<void> {
  let differing = "";
  for (const endMs = world.timeline.nowMs + LOOK_MS; world.timeline.nowMs <= endMs; ) {
    differing = digestsThatDiffer(world);
    if (differing === "") return checkSameViews(world);
    await world.sleep(LOOK_EVERY_MS);
  }
  world.violate("converged", differing);
}

function digestsThatDiffer(world: World): string {
  const hosts = liveHosts(world);
  const byDigest = Map.groupBy(hosts, ({ life }) => Buffer.from(life.core.replica.digest()).toString("hex").slice(0, 8));
  if (byDigest.size <= 1) return "";
  return [...byDigest].map(([digest, same]) => `${same.map(({ name, life }) => `${name}(${life.core.replica.standing()}, ${life.core.replica.counts().records})`).join(" ")}: ${digest}`).join("; ");
}

function checkSameViews(world: World): void {
  const views = Map.groupBy(liveHosts(world), ({ life }) => viewOf(life.core.view));
  if (views.size <= 1) return;
  const [a, b] = [...views.keys()].map((text) => text.split("\n"));
  const lines = (a ?? []).flatMap((line, at) => (line === b?.[at] ? [] : [`${line} | ${b?.[at] ?? ""}`])).slice(0, 3);
  world.violate("same-view", `${[...views.values()].map((hosts) => hosts.map(({ name }) => name).join(" ")).join(" against ")}: ${lines.join("; ")}`);
}

function viewOf(view: NonNullable<SimulatedHost["life"]>["core"]["view"]): string {
  const containers = view.containers().map((one) => [one.id, one.name, one.best?.holder, one.best?.epoch, one.highestEpoch, one.phase?.phase, one.phase?.exitCode, one.wanted?.call, one.wanted?.version, one.removed, one.gone, one.createdAtMs]);
  const members = view.members().map(({ peer, zone, name }) => [peer, zone, name]);
  const keys = view.keys().map(({ keyId, role, state, name }) => [keyId, role, state, name]).sort();
  const invites = [...view.authority().invites.keys()].sort();
  return [...containers, ...members, ...keys, ...invites].map((row) => JSON.stringify(row)).join("\n");
}

/** Processes that run on hosts that are still members. */
function processesOf(world: World, id: ContainerId): readonly SimulatedHost[] {
  return world.hosts.filter((host) => !host.retired && host.machine.bundles.get(id)?.state === "running");
}

function allIds(world: World): readonly ContainerId[] {
  const ids = new Set<ContainerId>(world.runs.map(({ container }) => container));
  for (const { life } of liveHosts(world)) for (const { id } of life.core.view.containers()) ids.add(id);
  return [...ids].sort();
}

/** The records of a container went down with every disk that had them: what runs of it is named and left. */
function isForgotten(world: World, container: ContainerView | undefined): boolean {
  return container === undefined && world.hosts.some((host) => host.disk.losses > 0 || host.retired);
}

export function checkAtMost(world: World): void {
  const [reference] = liveHosts(world);
  for (const id of allIds(world)) {
    const container = reference?.life.core.view.container(id);
    const hosts = processesOf(world, id);
    const asked = container === undefined || container.gone || container.best === undefined ? 0 : 1;
    if (hosts.length > asked && !isForgotten(world, container)) world.violate("at-most", `${world.history.nameOf(id)} runs on ${hosts.map(({ name }) => name).join(" and ")}, asked is ${asked}`);
  }
}

export function checkAsAsked(world: World): void {
  const hosts = liveHosts(world);
  const [reference] = hosts;
  for (const id of allIds(world)) {
    const container = reference?.life.core.view.container(id);
    if (container === undefined || isForgotten(world, container)) continue;
    const holder = hosts.find((host) => host.peer === container.best?.holder);
    const running = processesOf(world, id);
    const name = world.history.nameOf(id);
    const phase = container.phase?.phase ?? "claimed";
    const wants = !container.gone && container.wanted?.kind !== "stopped" && holder !== undefined;
    const wrong = (why: string): void => world.violate("as-asked", `${name} (phase ${phase}, wanted ${container.wanted?.kind ?? "running"}, at ${holder?.name ?? "nobody"}): ${why}`);
    if (!wants) {
      if (running.length > 0) wrong(`it runs on ${running.map((host) => host.name).join(" and ")}`);
    } else if (phase === "running") {
      if (running.length !== 1 || running[0] !== holder) wrong(`it runs on ${running.map((host) => host.name).join(" and ") || "no host"}`);
    } else if (running.length > 0) wrong(`it runs on ${running.map((host) => host.name).join(" and ")}`);
    else if (phase !== "ended" && phase !== "failed" && !isBusy(holder, container, phase)) wrong("nothing becomes of it");
  }
}

/** It waits for what may take longer than the world waits: a pull of minutes, a pause before the next try. */
function isBusy(holder: SimulatedHost, { spec }: ContainerView, phase: string): boolean {
  return phase === "backoff" || (phase === "pulling" && holder.machine.isPulling(spec.image));
}

/** What each host has promised is what its live claims ask for. */
export function checkNothingHeld(world: World): void {
  for (const host of liveHosts(world)) {
    const live = host.life.core.view.containers().filter((container) => container.best?.holder === host.peer && container.phase?.phase !== "gone");
    const used = host.life.core.used();
    const memoryBytes = live.reduce((sum, { spec }) => sum + spec.memoryBytes, 0);
    if (used.containers === live.length && used.memoryBytes === memoryBytes) continue;
    const held = `${used.containers} places and ${used.memoryBytes / 1024 ** 2} MiB are taken`;
    world.violate("nothing-held", `at ${host.name} ${held}, its live containers are ${live.map(({ id }) => world.history.nameOf(id)).join(", ") || "none"} with ${memoryBytes / 1024 ** 2} MiB`);
  }
}

/** What users were told is done last is what counts. */
export function checkLaterWins(world: World): void {
  const [reference] = liveHosts(world);
  for (const container of reference?.life.core.view.containers() ?? []) {
    const changes = world.asks.filter((ask) => CHANGES.has(ask.call) && ask.outcome === "done" && (ask.reply as ReplyOf<"Stop">).wrote.some(({ key }) => key.endsWith(`/${container.id}`)));
    const counting = changes.find((ask) => ask.token === container.wanted?.token);
    const last = changes.findLast((ask) => counting === undefined || ask.startedAtMs > (counting.endedAtMs ?? 0));
    if (last === undefined || last === counting || container.removed || isWriteLost(world)) continue;
    if (world.wasDisturbed((counting ?? last).startedAtMs - AFTERMATH_MS, last.endedAtMs ?? 0)) continue;
    world.violate("later-wins", `${world.history.nameOf(container.id)}: ${last.call} by ${last.user.name} was done at ${last.endedAtMs}, what counts is ${counting?.call ?? "nothing"}`);
  }
}

const CHANGES: ReadonlySet<string> = new Set(["Stop", "Start", "Restart"]);

export function checkRemoved(world: World): void {
  for (const ask of world.asks) {
    const reply = ask.reply as ReplyOf<"Remove"> | undefined;
    if (ask.call !== "Remove" || ask.outcome !== "done" || reply === undefined) continue;
    for (const id of reply.done) {
      // Not known to whom could be asked, and some could not be: the answer says so.
      if (reply.notAsked.length > 0 && !reply.wrote.some(({ key }) => key.endsWith(`/${id}`))) continue;
      for (const host of liveHosts(world)) {
        const container = host.life.core.view.container(id as ContainerId);
        if (container !== undefined && !container.gone && !isWriteLost(world)) world.violate("stays-removed", `${world.history.nameOf(id)} was removed and is back at ${host.name}`);
      }
    }
  }
}

const isWriteLost = (world: World): boolean => world.hosts.some((host) => host.disk.losses > 0 || host.retired);
