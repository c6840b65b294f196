import type { ContainerId } from "../../../src/base/index.ts";
import type { ContainerView } from "../../../src/state/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { World } from "../world.ts";
import { liveHosts } from "./reach.ts";

/** Equal digests within this long of looking: between two looks somebody may just be writing. */
const LOOK_MS = 4_000;
const LOOK_EVERY_MS = 100;

/** Digests and derived views of all live hosts are the same at one moment at least. */
export async function checkConverged(world: World, isHanded: (id: ContainerId) => boolean = () => false): Promise<void> {
  let digests = "";
  let views = "";
  for (const endMs = world.timeline.nowMs + LOOK_MS; world.timeline.nowMs <= endMs; ) {
    digests = digestsThatDiffer(world);
    // A record counts in the digest when it comes, in the view when it is fsynced.
    views = digests === "" ? viewsThatDiffer(world, isHanded) : "";
    if (digests === "" && views === "") return;
    await world.sleep(LOOK_EVERY_MS);
  }
  if (digests === "") world.violate("same-view", views);
  else world.violate("converged", digests);
}

function digestsThatDiffer(world: World): string {
  const hosts = liveHosts(world);
  const byDigest = Map.groupBy(hosts, ({ life }) => Buffer.from(life.core.replica.digest()).toString("hex").slice(0, 8));
  if (byDigest.size <= 1) return "";
  return [...byDigest]
    .map(
      ([digest, same]) =>
        `${same.map(({ name, life }) => `${name}(${life.core.replica.standing()}, ${life.core.replica.counts().records})`).join(" ")}: ${digest}`,
    )
    .join("; ");
}

function viewsThatDiffer(world: World, isHanded: (id: ContainerId) => boolean): string {
  const unsettled = new Set(unsettledIds(world));
  // A liar stamps what it was handed again and again; who came late can't know which stamp was the first.
  for (const { life } of liveHosts(world)) for (const { id } of life.core.view.containers()) if (world.liars.size > 0 && isHanded(id)) unsettled.add(id);
  const waiting = waitingAdminKeys(world);
  const views = Map.groupBy(liveHosts(world), ({ life }) => viewOf(life.core.view, unsettled, waiting));
  if (views.size <= 1) return "";
  const [a, b] = [...views.keys()].map((text) => text.split("\n"));
  const lines = (a ?? []).flatMap((line, at) => (line === b?.[at] ? [] : [`${line} | ${b?.[at] ?? ""}`])).slice(0, 3);
  return `${[...views.values()].map((hosts) => hosts.map(({ name }) => name).join(" ")).join(" against ")}: ${lines.join("; ")}`;
}

type View = NonNullable<SimulatedHost["life"]>["core"]["view"];

function viewOf(view: View, without: ReadonlySet<ContainerId>, waiting: readonly string[]): string {
  const waits = (kind: string, id = ""): boolean => waiting.some((key) => key.startsWith(`admin/-/${kind}/${id}`));
  const containers = view.containers().filter(({ id }) => !without.has(id));
  const members = waits("removal") ? [] : view.members().map(({ peer, zone, name }) => [peer, zone, name]);
  // A key that waits, or its end, may stand between the root and any other.
  const keys = waits("key") || waits("revocation") ? [] : view.keys().map(({ keyId, role, state, name }) => [keyId, role, state, name].join(" "));
  const invites = [...view.authority().invites.keys()].filter((id) => !waits("invite", `${id}-`));
  return [...containers.map(rowOf), ...members, ...keys.sort(), ...invites.sort()].map((row) => JSON.stringify(row)).join("\n");
}

function rowOf(one: ContainerView): readonly unknown[] {
  const { id, name, best, highestEpoch, phase, wanted, removed, gone, createdAtMs } = one;
  return [id, name, best?.holder, best?.epoch, highestEpoch, phase?.phase, phase?.exitCode, wanted?.call, wanted?.version, removed, gone, createdAtMs];
}

/** Of equal digests: keys of `admin/` records that some hosts show while they still wait, for the same reason, at others. */
function waitingAdminKeys(world: World): readonly string[] {
  const shown = liveHosts(world).map(({ life }) => new Map(life.core.replica.list("admin/").map(({ key, writer }) => [`${key}!${writer}`, key])));
  return shown.flatMap((some) => [...some].flatMap(([entry, key]) => (shown.every((others) => others.has(entry)) ? [] : [key])));
}

/**
 * Containers about which a record waits, stamped by a host whose clock was far ahead while it reached nobody: who took the
 * stamp in when it was in time shows it, the others will when its time comes.
 */
export function unsettledIds(world: World): ReadonlySet<ContainerId> {
  const hosts = liveHosts(world);
  const unsettled = new Set<ContainerId>();
  if (hosts.every(({ life }) => life.core.replica.counts().ahead === 0)) return unsettled;
  const [reference] = hosts;
  for (const id of hosts.flatMap(({ life }) => life.core.view.containers().map((container) => container.id))) {
    const row = ({ life }: (typeof hosts)[number]): string =>
      JSON.stringify(life.core.view.container(id) === undefined ? "" : rowOf(life.core.view.container(id) as ContainerView));
    if (reference !== undefined && hosts.some((host) => row(host) !== row(reference))) unsettled.add(id);
  }
  return unsettled;
}
