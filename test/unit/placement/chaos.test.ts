import t from "tap";
import type { ContainerId } from "../../../src/base/index.ts";
import { containerIdOf, type PlacementOutcome } from "../../../src/placement/index.ts";
import { seeded } from "./virtual-time.ts";
import { KEY, MIB, type SimHost, World } from "./world.ts";

const SEEDS = Number(process.env["SEEDS"] ?? 4);
const FIRST_SEED = Number(process.env["FIRST_SEED"] ?? 1);
const RETRY_MS = 30_000;

type Faults = { readonly lossPercent: number; readonly cuts: boolean; readonly crashes: boolean };
type Run = { readonly token: string; outcome: PlacementOutcome | undefined; readonly asked: SimHost[] };

/** A client as cc is one: unknown outcomes are retried with the same token, at any peer, for 30 s. */
async function client(world: World, run: Run, chance: (below: number) => number, spec: { memoryBytes: number; name: string }): Promise<void> {
  const endMs = world.time.nowMs + RETRY_MS;
  while (world.time.nowMs < endMs) {
    const peer = world.at(chance(world.hosts.length));
    if (!peer.dead) {
      const before = [...new Set(run.asked)];
      run.asked.push(peer);
      run.outcome = await world.place(peer, run.token, spec, before).catch(() => undefined);
      if (run.outcome?.ok === true || !["OUTCOME_UNKNOWN", "TIMEOUT", "STARTING", undefined].includes(run.outcome?.code)) return;
    }
    await world.time.sleep(200 + chance(800));
  }
}

async function history(seed: number, faults: Faults) {
  const random = seeded(seed);
  const chance = (below: number): number => random.below(below);
  const world = new World(3 + chance(3));
  const problems: string[] = [];
  const startsOf = new Map<ContainerId, { host: SimHost; atMs: number }[]>();
  let isFaulty = true;
  world.onMessage = () => {
    if (!isFaulty) return 1;
    if (chance(100) < faults.lossPercent) return "drop";
    return chance(20) === 0 ? 100 + chance(600) : 1 + chance(8);
  };
  const every = (ms: number, act: () => void): void => {
    const again = (): void => {
      act();
      world.time.after(ms, again);
    };
    world.time.after(ms, again);
  };
  every(20, () => {
    for (const host of world.hosts) {
      const { used, peer } = { used: host.placement.holder.used, peer: host.name };
      if (used.memoryBytes > 1024 * MIB) problems.push(`${peer} over-committed: ${used.memoryBytes / MIB} MiB`);
    }
  });
  // Starts: what the containers' loop does with a claim, after a pull.
  every(100, () => {
    for (const host of world.hosts) {
      if (host.dead) continue;
      for (const id of host.claimed()) {
        const starts = startsOf.get(id) ?? [];
        if (!starts.some((start) => start.host === host) && host.placement.holder.mayStart(id).ok)
          startsOf.set(id, [...starts, { host, atMs: world.time.nowMs }]);
      }
    }
  });
  // Repair between neighbours.
  every(1_000, () => {
    const [one, other] = [world.at(chance(world.hosts.length)), world.at(chance(world.hosts.length))];
    if (world.isUp(one, other) && world.isUp(other, one)) {
      one.replica.store([...other.replica.records.values()].map((record) => record.frame));
      other.replica.store([...one.replica.records.values()].map((record) => record.frame));
    }
  });
  if (faults.cuts) {
    every(3_000, () => {
      const [one, other] = [world.at(chance(world.hosts.length)), world.at(chance(world.hosts.length))];
      if (!isFaulty || one === other) return;
      const links = chance(3) === 0 ? [`${one.name}>${other.name}`] : [`${one.name}>${other.name}`, `${other.name}>${one.name}`];
      const kind = chance(2) === 0 ? world.cut : world.silent;
      for (const link of links) kind.add(link);
      world.time.after(500 + chance(9_000), () => {
        for (const link of links) kind.delete(link);
      });
    });
  }
  if (faults.crashes) {
    every(4_000, () => {
      const host = world.at(chance(world.hosts.length));
      if (!isFaulty || host.dead || world.hosts.filter((other) => other.dead).length > 0) return;
      host.die();
      world.time.after(500 + chance(8_000), () => host.restart());
    });
  }
  // Liveness notices after 3 s what a majority can't reach, and at once when it is back.
  const goneSince = new Map<SimHost, number>();
  every(250, () => {
    for (const target of world.hosts) {
      const seers = world.hosts.filter((other) => other !== target && world.isUp(other, target) && world.isUp(target, other));
      if (seers.length > 0) goneSince.delete(target);
      else if (!goneSince.has(target)) goneSince.set(target, world.time.nowMs);
      const isGone = world.time.nowMs - (goneSince.get(target) ?? world.time.nowMs) > 3_000;
      for (const other of world.hosts)
        if (isGone && other !== target) other.unreachable.add(target.peer);
        else other.unreachable.delete(target.peer);
    }
  });

  const runs: Run[] = [];
  const clients: Promise<void>[] = [];
  for (let at = 0; at < 25; at += 1) {
    const run: Run = { token: `token-${at}`, outcome: undefined, asked: [] };
    runs.push(run);
    clients.push(client(world, run, chance, { memoryBytes: (64 + chance(3) * 64) * MIB, name: chance(3) === 0 ? `name-${chance(3)}` : "" }));
    await world.time.pass(chance(600));
  }
  await world.time.settle(Promise.all(clients));
  isFaulty = false;
  world.cut.clear();
  world.silent.clear();
  for (const host of world.hosts) if (host.dead) host.restart();
  await world.time.pass(30_000);

  for (const run of runs) {
    const id = containerIdOf(KEY, run.token);
    const holders = world.holders(id);
    const mayStart = world.hosts.filter((host) => host.placement.holder.mayStart(id).ok);
    const said = run.outcome === undefined ? "no answer" : run.outcome.ok ? "placed" : run.outcome.code;
    const isOpen = ["OUTCOME_UNKNOWN", "TIMEOUT", "STARTING", "no answer"].includes(said);
    if (said === "placed" ? holders.length !== 1 || mayStart.length !== 1 : holders.length > (isOpen ? 1 : 0)) {
      problems.push(`${run.token}: ${said}, but held by ${holders.map((host) => host.name).join(" and ") || "nobody"}, may start at ${mayStart.length}`);
    }
  }
  const doubles = [...startsOf].filter(([, starts]) => starts.length > 1).length;
  world.stop();
  return { problems, doubles, runs };
}

t.setTimeout(240_000 + SEEDS * 40_000);

const KINDS: readonly (readonly [string, Faults])[] = [
  ["quiet", { lossPercent: 0, cuts: false, crashes: false }],
  ["loss", { lossPercent: 15, cuts: false, crashes: false }],
  ["cuts", { lossPercent: 5, cuts: true, crashes: false }],
  ["crashes", { lossPercent: 5, cuts: true, crashes: true }],
];

for (const [name, faults] of KINDS) {
  t.test(`seeded histories: ${name}`, async (t) => {
    t.setTimeout(60_000 + SEEDS * 10_000);
    let doubles = 0;
    const outcomes = new Map<string, number>();
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
      const found = await history(seed, faults);
      t.strictSame(found.problems.slice(0, 5), [], `${name}, seed ${seed}`);
      doubles += found.doubles;
      for (const { outcome } of found.runs) {
        const said = outcome === undefined ? "no answer" : outcome.ok ? "placed" : outcome.code;
        outcomes.set(said, (outcomes.get(said) ?? 0) + 1);
      }
    }
    t.comment(`${[...outcomes].map(([said, count]) => `${said} ${count}`).join(", ")}; started twice ${doubles}`);
    if (name === "quiet") t.equal(doubles, 0, "one start per token while connected");
  });
}
