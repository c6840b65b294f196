import { type ContainerId, formatIp, type VpcId } from "../../src/base/index.ts";
import { placeOf } from "../../src/vpc/index.ts";
import { FAULTS, FaultSchedule } from "./faults.ts";
import type { SimulatedHost } from "./host.ts";
import { Watch } from "./invariants/watch.ts";
import type { SeededRandom } from "./random.ts";
import { Stage } from "./scenarios/scenario.ts";
import { makeVpc, removeHost, small } from "./scenarios/vpc-stage.ts";
import type { SeededOptions } from "./seeded.ts";
import type { Ask } from "./user.ts";
import { World } from "./world.ts";

const STREAM = { shape: 160, faults: 161, work: 162 } as const;
const HOSTS = 5;
const AT_ONCE = 5;
/** What there is to give, and what is asked for on each side of the cut: more or less than its share. */
const SIZES = [
  { cidr: "10.0.0.0/24", addresses: 253, aSide: 100 },
  { cidr: "10.0.0.0/26", addresses: 61, aSide: 40 },
  { cidr: "10.0.0.0/27", addresses: 29, aSide: 25 },
  { cidr: "10.0.0.0/28", addresses: 13, aSide: 12 },
];
const MIB = 1024 ** 2;
/** A side of a few hosts has place for all. */
const CAPACITY = { memoryBytes: 8_192 * MIB, diskBytes: 8_192 * MIB, cpuShares: 65_536, containersMax: 260 };

/** One container that somebody asked for while the mesh was cut. */
type Given = { readonly id: ContainerId; readonly address: string };

/**
 * One seed's world of HAZARDS' rows about VPCs: a mesh cut in two, both sides give addresses of one VPC to up to a hundred containers each,
 * take some back and lose hosts meanwhile; healed, nobody's address has changed, none was there twice (the invariants look all the while),
 * and what there is, also of a removed host, can be had to the last address.
 */
export async function runCutVpcs({ seed, hosts = HOSTS, troubleMs, print }: SeededOptions): Promise<World> {
  const world = new World({ seed, zones: Array.from({ length: hosts }, () => "a"), capacity: CAPACITY, ...(print === undefined ? {} : { print }) });
  const shape = world.random(STREAM.shape);
  const { cidr, addresses, aSide } = shape.pick(SIZES) ?? { cidr: "10.0.0.0/24", addresses: 253, aSide: 100 };
  await world.tell(async () => {
    const watch = new Watch(world);
    await world.build();
    const stage = new Stage(world, watch, await world.newUser("eve", "operator"));
    await stage.sleep(2_500);
    const vpc = await makeVpc(stage, "shop", cidr, [world.host(shape.below(hosts))]);
    await stage.sleep(1_000);
    const sides = twoSides(world, shape);
    const heal = stage.cut(sides[0], sides[1]);
    // Before a side has noticed, and long after.
    await stage.sleep(shape.pick([0, 3_000, 15_000]) ?? 0);
    const faults = new FaultSchedule(
      world,
      world.random(STREAM.faults),
      Object.keys(FAULTS).filter((kind) => HARMLESS_TO_CUT.has(kind) && shape.chance(0.5)),
    );
    const failing = faults.run(world.timeline.nowMs + (troubleMs ?? shape.between(3_000, 10_000)), 2_500);
    const removed = shape.chance(0.4) ? shape.pick(sides[0].length > sides[1].length ? sides[0].slice(1) : sides[1].slice(1)) : undefined;
    const given = await Promise.all(sides.map((side, at) => give(stage, vpc, side, aSide, world.random(STREAM.work + at))));
    await failing;
    faults.heal();
    if (removed !== undefined && !hasUsers(removed)) {
      const at = (sides.find((side) => side.includes(removed)) ?? []).find((host) => host !== removed && host.life !== undefined);
      if (at !== undefined) await removeHost(stage, removed, at, at.peer);
    }
    heal();
    await stage.heal();
    await watch.healed();
    checkKept(stage, given.flat());
    if (removed !== undefined || shape.chance(0.3)) await fillUp(stage, vpc, addresses);
  });
  return world;
}

/** The cut itself is the story's; disks that forget are left to other worlds. */
const HARMLESS_TO_CUT: ReadonlySet<string> = new Set(["kill-peer", "stop-peer", "power", "rough-api"]);

function twoSides(world: World, random: SeededRandom): readonly [readonly SimulatedHost[], readonly SimulatedHost[]] {
  const left = world.hosts.filter((_host, at) => at === 0 || (at > 1 && random.chance(0.5)));
  return [left, world.hosts.filter((host) => !left.includes(host))];
}

const hasUsers = (host: SimulatedHost): boolean => host.machine.running().length > 0;

/** Asks for containers on one side, some at a named host, and removes one now and then; gives those that have an address. */
async function give(stage: Stage, vpc: VpcId, side: readonly SimulatedHost[], count: number, random: SeededRandom): Promise<readonly Given[]> {
  const live: ContainerId[] = [];
  let left = count;
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const at = random.pick(side) ?? stage.host(0);
      const named = random.chance(0.7) ? { host: (random.pick(side) ?? at).name } : {};
      const ask = await stage.run(small(vpc, { command: ["sleep", "600000", "0"], restart: "always", ...named }), [at, ...side.filter((host) => host !== at)]);
      if (ask.outcome === "done" && ask.id !== undefined) live.push(ask.id);
      else checkRefusal(stage, ask);
      if (live.length > 0 && random.chance(0.15)) await stage.change("Remove", live.splice(random.below(live.length), 1), at);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return live.flatMap((id) => {
    const address = addressOf(side, id);
    return address === undefined ? [] : [{ id, address }];
  });
}

/** Who has no address to give says whose there are. */
function checkRefusal(stage: Stage, { outcome, message }: Ask): void {
  if (outcome !== "NO_ROOM" || (!message.includes("addresses of VPC") && !message.includes("free address of VPC"))) return;
  const namesOwner = /there are \d+ with k\d+/.test(message) || message.includes("all addresses of VPC shop are taken");
  stage.expect(namesOwner, `a refusal names who has addresses: ${message}`);
}

function addressOf(hosts: readonly SimulatedHost[], id: ContainerId): string | undefined {
  for (const { life } of hosts) {
    const container = life?.core.view.container(id);
    const place = container === undefined || container.gone ? undefined : placeOf(container);
    if (place !== undefined) return formatIp(place.address);
  }
  return undefined;
}

function checkKept(stage: Stage, given: readonly Given[]): void {
  const { hosts, history } = stage.world;
  for (const host of hosts)
    for (const { id, address } of given) {
      const now = addressOf([host], id);
      stage.expect(now === undefined || now === address, `${history.nameOf(id)} had ${address} and has ${now} now, says ${host.name}`);
    }
  const addresses = given.map(({ address }) => address);
  stage.expect(new Set(addresses).size === addresses.length, "each address was given once");
}

/** Now every address can be had: at a host that has to ask the others for most of them. */
async function fillUp(stage: Stage, vpc: VpcId, addresses: number): Promise<void> {
  const at = stage.world.hosts.find((host) => host.life !== undefined && !host.retired);
  if (at === undefined) return;
  const used = (): number => (at.life?.core.view.containers() ?? []).filter((container) => !container.gone && placeOf(container)?.vpc === vpc).length;
  let last: Ask | undefined;
  const worker = async (): Promise<void> => {
    for (let tries = 0; tries < addresses; tries += 1) {
      const ask = await stage.run(small(vpc, { command: ["sleep", "600000", "0"], host: at.name }), [at]);
      if (ask.outcome !== "done") {
        last = ask;
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  stage.expect(used() === addresses, `all ${addresses} addresses can be had, not ${used()}: ${last?.outcome} ${last?.message}`);
}
