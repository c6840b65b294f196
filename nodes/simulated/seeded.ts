import { Administration } from "./administration.ts";
import { FAULTS, FaultSchedule } from "./faults.ts";
import { Watch } from "./invariants/watch.ts";
import { Liar } from "./liar.ts";
import { Replayer } from "./replayer.ts";
import { VolumeWork } from "./volume-work.ts";
import { VpcWork } from "./vpc-work.ts";
import { Workload } from "./workload.ts";
import { World } from "./world.ts";

export type SeededOptions = {
  readonly seed: number;
  /** Left out: 3 to 5, by the seed. */
  readonly hosts?: number;
  /** How long things go wrong; left out: 15 to 40 s, by the seed. */
  readonly troubleMs?: number;
  readonly print?: (line: string) => void;
};

const STREAM = { world: 128, faults: 129, work: 130, liar: 131, replayer: 132, administration: 133, clocks: 134, volumes: 135, vpcs: 136 } as const;
const HOSTS_MAX = 6;
/** Below the 5 minutes in which a signed time is taken, by as much as hosts' clocks are commonly off. */
const USER_SKEW_MS_MAX = 200_000;

/** One seed's world, from its founding to the checks after the last fault has healed. */
export async function runSeeded(options: SeededOptions): Promise<World> {
  const { seed, print } = options;
  const shape = new World({ seed, zones: ["a"] }).random(STREAM.world);
  const count = options.hosts ?? shape.between(3, 5);
  const troubleMs = options.troubleMs ?? shape.between(15_000, 40_000);
  const zones = Array.from({ length: count }, () => (shape.chance(0.75) ? "a" : "b"));
  const world = new World({ seed, zones, ...(print === undefined ? {} : { print }) });
  const kinds = Object.keys(FAULTS).filter(() => shape.chance(0.6));
  const faultGapMs = shape.pick([1_500, 4_000, 10_000]) ?? 4_000;
  const workGapMs = shape.pick([800, 2_000, 4_000]) ?? 2_000;
  const company = { liar: count >= 4 && shape.chance(0.2), replayer: shape.chance(0.25), administration: shape.chance(0.35) };
  await world.tell(async () => {
    const watch = new Watch(world);
    await world.build();
    const users = [await world.newUser("eve", "operator"), await world.newUser("bob", "operator"), await world.newUser("val", "viewer")];
    const clocks = world.random(STREAM.clocks);
    for (const user of users) if (clocks.chance(0.3)) user.time.skewMs = clocks.between(-USER_SKEW_MS_MAX, USER_SKEW_MS_MAX);
    const untilMs = world.timeline.nowMs + troubleMs;
    const faults = new FaultSchedule(world, world.random(STREAM.faults), kinds);
    const work = new Workload(world, world.random(STREAM.work));
    const doing = [faults.run(untilMs, faultGapMs), ...users.map((user) => work.run(user, untilMs, user.role === "viewer" ? 4 * workGapMs : workGapMs))];
    const volumes = volumesIn(world);
    if (volumes !== undefined) doing.push(...users.slice(0, 2).map((user) => volumes.run(user, untilMs, workGapMs)));
    const vpcs = vpcsIn(world);
    if (vpcs !== undefined) doing.push(...users.slice(0, 2).map((user) => vpcs.run(user, untilMs, workGapMs)));
    if (company.liar) doing.push(lie(world, untilMs));
    if (company.replayer) doing.push(new Replayer(world, world.random(STREAM.replayer)).run(untilMs, 1_000));
    if (company.administration) doing.push(new Administration(world, world.random(STREAM.administration), HOSTS_MAX).run(untilMs, 5_000));
    await Promise.all(doing);
    faults.heal();
    await world.untilConnected(60_000);
    await work.settled();
    await volumes?.settled();
    await vpcs?.settled();
    await watch.healed();
  });
  return world;
}

/** In half of the worlds, by a stream of its own: what the others do is as it was before there were volumes. */
function volumesIn(world: World): VolumeWork | undefined {
  const random = world.random(STREAM.volumes);
  return random.chance(0.5) ? new VolumeWork(world, random) : undefined;
}

/** The same for VPCs. */
function vpcsIn(world: World): VpcWork | undefined {
  const random = world.random(STREAM.vpcs);
  return random.chance(0.5) ? new VpcWork(world, random) : undefined;
}

async function lie(world: World, untilMs: number): Promise<void> {
  const random = world.random(STREAM.liar);
  const liar = new Liar(world, world.host(world.hosts.length - 1), random);
  liar.lieInAnswers((["observe", "askBid", "awardContainer", "reconcile", "askAround"] as const).filter(() => random.chance(0.5)));
  await liar.attack(untilMs, 700);
}
