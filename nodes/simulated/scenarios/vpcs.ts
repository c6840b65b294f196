import type { ReplyOf } from "../../../src/api/client-messages.ts";
import { type ContainerId, formatIp, type PeerId, type VpcId } from "../../../src/base/index.ts";
import { vpcIdOf } from "../../../src/state/index.ts";
import { assignVnis, piecesOf, placeOf, vniCandidates } from "../../../src/vpc/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Ask } from "../user.ts";
import type { Scenario, Stage } from "./scenario.ts";

const MIB = 1024 ** 2;

function create(stage: Stage, name: string, cidr: string, at: readonly SimulatedHost[] = [stage.host(0)], token?: string): Promise<Ask> {
  const endpoints = at.map(({ endpoint }) => endpoint);
  return stage.user.ask(endpoints, "CreateVpc", { name, cidr }, token);
}

async function make(stage: Stage, name: string, cidr: string, at: readonly SimulatedHost[] = [stage.host(0)], token?: string): Promise<VpcId> {
  const ask = await create(stage, name, cidr, at, token);
  const { id } = (ask.reply ?? { id: "" }) as ReplyOf<"CreateVpc">;
  if (ask.outcome !== "done") throw new Error(`VPC ${name} was not made: ${ask.outcome} ${ask.message}`);
  stage.world.history.name(id, name);
  return id as VpcId;
}

const drop = (stage: Stage, vpcs: readonly VpcId[], at: SimulatedHost = stage.host(0)): Promise<Ask> =>
  stage.user.ask([at.endpoint], "DeleteVpcs", { vpcs: [...vpcs] });
const done = (ask: Ask): readonly string[] => ((ask.reply ?? { done: [] }) as ReplyOf<"DeleteVpcs">).done;
const isListed = (host: SimulatedHost, id: VpcId): boolean => host.life?.core.view.vpc(id)?.gone === false;
const small = (vpc: VpcId, more: object = {}): object => ({ vpc, memoryBytes: 16 * MIB, diskBytes: 16 * MIB, ...more });

/** Runs containers at one host until it has no address left; gives them, and the refusal. */
async function fill(
  stage: Stage,
  vpc: VpcId,
  at: SimulatedHost,
  max = 12,
): Promise<{ readonly ids: readonly ContainerId[]; readonly refusal: Ask | undefined }> {
  const ids: ContainerId[] = [];
  for (let count = 0; count < max; count += 1) {
    const ask = await stage.run(small(vpc, { host: at.name }), [at]);
    if (ask.outcome !== "done" || ask.id === undefined) return { ids, refusal: ask };
    ids.push(ask.id);
  }
  return { ids, refusal: undefined };
}

function addressOf(stage: Stage, id: ContainerId): string {
  for (const host of stage.world.hosts) {
    const container = host.life?.core.view.container(id);
    const place = container === undefined ? undefined : placeOf(container);
    if (place !== undefined) return formatIp(place.address);
  }
  return "";
}

/** Two tokens with which two peers make VPCs of the same VNI: some thousand tries each find a pair. */
function clashingTokens(stage: Stage, a: PeerId, b: PeerId): readonly [string, string] {
  const seen = new Map<number, string>();
  const vniOf = (token: string, peer: PeerId): number => vniCandidates(vpcIdOf(stage.user.keyId, token, peer)).next().value ?? 0;
  for (let at = 0; at < 20_000; at += 1) seen.set(vniOf(`clash-a-${at}`, a), `clash-a-${at}`);
  for (let at = 0; at < 20_000; at += 1) {
    const other = seen.get(vniOf(`clash-b-${at}`, b));
    if (other !== undefined) return [other, `clash-b-${at}`];
  }
  throw new Error("no two tokens clash");
}

/** Histories about VPCs: who owns which addresses, who may use one, and when it is gone. */
export const VPC_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "two-ids",
    what: "the peer that took a VPC's create dies before it answers, and the client goes to another: one VPC",
    seeds: 12,
    story: async (stage) => {
      const [a, b] = stage.world.hosts;
      if (a === undefined || b === undefined) return;
      const over = stage.world.disturb();
      const asking = create(stage, "shop", "10.0.0.0/24", [a, b]);
      await stage.sleep(10 + 4 * stage.world.seed);
      a.killPeer();
      const ask = await asking;
      stage.expect(["done", "OUTCOME_UNKNOWN", "CANCELLED"].includes(ask.outcome), `it is done or unknown: ${ask.outcome} ${ask.message}`);
      a.boot();
      over();
      await stage.heal();
      await stage.watch.healed();
    },
  },
  {
    hazard: "two-creates",
    what: "one VPC's name at three peers at once: one wins",
    seeds: 4,
    story: async (stage) => {
      for (const name of ["shop", "blog", "mail"]) {
        const asks = await Promise.all(stage.world.hosts.map((at) => create(stage, name, "10.0.0.0/24", [at])));
        stage.expect(
          asks.filter(({ outcome }) => outcome === "done").length === 1,
          `one of three has ${name}: ${asks.map(({ outcome }) => outcome).join(" ")}`,
        );
      }
      await stage.watch.healed();
    },
  },
  {
    hazard: "absent-succeeds",
    what: "a VPC is deleted at a peer that has not heard of it yet",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      stage.world.network.gossipCutTo.add(c.peer);
      const ids = [await make(stage, "shop", "10.0.0.0/24", [a]), await make(stage, "blog", "10.0.0.0/24", [b])];
      for (const id of ids) stage.expect(done(await drop(stage, [id], c)).includes(id), "it is deleted");
      stage.world.network.gossipCutTo.clear();
      await stage.watch.healed();
      for (const id of ids) stage.expect(!stage.world.hosts.some((host) => isListed(host, id)), "an acknowledged delete means gone");
    },
  },
  {
    hazard: "vpc-delete-race",
    what: "a VPC is deleted and a container started in it, at two peers, up to 200 ms apart: one of both is refused",
    seeds: 24,
    story: async (stage) => {
      const [a, , c] = stage.world.hosts;
      if (a === undefined || c === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/24", [a]);
      await stage.sleep(1_000);
      const running = stage.run(small(vpc, { host: c.name }), [c]);
      await stage.sleep((stage.world.seed * 17) % 200);
      const [deleted, ran] = await Promise.all([drop(stage, [vpc], a), running]);
      stage.expect(!(done(deleted).includes(vpc) && ran.outcome === "done"), "no container without its VPC");
      stage.expect(done(deleted).includes(vpc) !== isListed(a, vpc), "a refused delete changed nothing");
      await stage.watch.healed();
    },
  },
  {
    hazard: "vpc-delete-race",
    what: "a container is awarded by a peer that has not heard of the mark yet, moments after the delete",
    seeds: 8,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/24", [a]);
      await stage.sleep(1_000);
      stage.world.network.gossipCutTo.add(c.peer);
      stage.expect(done(await drop(stage, [vpc], a)).includes(vpc), "it is deleted");
      const ran = await stage.run(small(vpc, { host: c.name }), [c]);
      stage.expect(ran.outcome !== "done", `who said 'no user' attaches nothing: ${ran.outcome}`);
      stage.world.network.gossipCutTo.clear();
      await stage.watch.healed();
    },
  },
  {
    hazard: "vpc-delete-race",
    what: "a container started unaware in a cut keeps its network until it ends; after that nothing starts there",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/24", [a]);
      await stage.sleep(1_000);
      const heal = stage.cut([c], [a, b]);
      await stage.sleep(20_000);
      const unaware = await stage.place(small(vpc, { host: c.name }), [c]);
      const deleted = await drop(stage, [vpc], a);
      stage.expect(done(deleted).includes(vpc), "whom nobody can ask cannot object");
      heal();
      await stage.heal();
      await stage.sleep(5_000);
      stage.expect(stage.running(unaware).length === 1, "it runs on");
      stage.expectRefused(await stage.run(small(vpc), [c]), "NOT_FOUND");
      stage.expectDone(await stage.change("Stop", [unaware], c));
      const started = await stage.change("Start", [unaware], c);
      await stage.sleep(3_000);
      stage.expect(stage.running(unaware).length === 0, `what has ended is not attached again: ${started.outcome}`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "double-block",
    what: "both sides of a cut run in one VPC until its addresses there are gone; healed, the rest is given out to the last",
    zones: ["a", "a", "a", "a"],
    seeds: 3,
    story: async (stage) => {
      const [a, b, c, d] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined || d === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/27", [a]);
      await stage.sleep(1_000);
      const heal = stage.cut([a, b], [c, d]);
      await stage.sleep(20_000);
      const filled = await Promise.all([a, c].map((host) => fill(stage, vpc, host)));
      const before = filled.map(({ ids }) => ids.map((id) => addressOf(stage, id)));
      for (const { refusal } of filled)
        stage.expect(
          refusal === undefined || (refusal.outcome === "NO_ROOM" && /which cannot be reached/.test(refusal.message)),
          `the owner is named: ${refusal?.outcome} ${refusal?.message}`,
        );
      heal();
      await stage.heal();
      await stage.sleep(12_000);
      const rest: ContainerId[] = [];
      for (const host of [a, b, c, d]) rest.push(...(await fill(stage, vpc, host)).ids);
      const all = [...filled.flatMap(({ ids }) => ids), ...rest];
      const addresses = new Set(all.map((id) => addressOf(stage, id)));
      stage.expect(all.length === 29, `29 addresses are given out to the last, not ${all.length}`);
      stage.expect(addresses.size === all.length, "each to one container");
      const after = filled.map(({ ids }) => ids.map((id) => addressOf(stage, id)));
      stage.expect(JSON.stringify(before) === JSON.stringify(after), "nobody's address changed");
      await stage.watch.healed();
    },
  },
  {
    hazard: "removed-blocks",
    what: "the owner of blocks burns and is removed; a new host comes: all addresses are usable again, none twice",
    seeds: 2,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/28", [a]);
      await stage.sleep(2_000);
      const before = await fill(stage, vpc, b, 3);
      await remove(stage, c, a, b.peer);
      await stage.sleep(12_000);
      stage.expect(
        piecesOfAt(a, vpc).every(({ owner }) => owner !== c.peer),
        "what it had is another's",
      );
      const joined = await stage.world.join("a", a);
      await stage.sleep(5_000);
      const all = [...before.ids];
      for (const host of [a, b, joined]) all.push(...(await fill(stage, vpc, host)).ids);
      stage.expect(all.length === 13, `13 addresses are given out to the last, not ${all.length}`);
      stage.expect(new Set(all.map((id) => addressOf(stage, id))).size === all.length, "each to one container");
      await stage.watch.healed();
    },
  },
  {
    hazard: "removed-blocks",
    what: "a host gives a block away in a cut, then burns and is removed on the other side: the block stays with who recorded it",
    seeds: 3,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/28", [a]);
      await stage.sleep(2_000);
      const heal = stage.cut([a], [b, c]);
      await stage.sleep(15_000);
      // b has more than its own share: the rest is from c.
      const own = piecesOfAt(b, vpc).filter(({ owner }) => owner === b.peer);
      const filled = await fill(stage, vpc, b);
      stage.expect(filled.ids.length > own.reduce((sum, { block }) => sum + 2 ** (32 - block.bits), 0), "it got addresses of c");
      await remove(stage, c, a, a.peer);
      await stage.sleep(8_000);
      stage.expect(
        piecesOfAt(a, vpc).some(({ owner }) => owner === c.peer),
        "the heir waits for the host that it cannot reach",
      );
      const early = await fill(stage, vpc, a);
      heal();
      await stage.heal();
      await stage.sleep(10_000);
      const all = [...filled.ids, ...early.ids, ...(await fill(stage, vpc, a)).ids, ...(await fill(stage, vpc, b)).ids];
      stage.expect(new Set(all.map((id) => addressOf(stage, id))).size === all.length, "no address was there twice");
      stage.expect(all.length === 13, `13 addresses are given out to the last, not ${all.length}`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "moved-address",
    what: "a host that reaches nobody frees an address: it gives it to nobody else before it has heard more than half of its zone",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const vpc = await make(stage, "shop", "10.0.0.0/28", [a]);
      await stage.sleep(2_000);
      const heal = stage.cut([a], [b, c]);
      await stage.sleep(20_000);
      const { ids } = await fill(stage, vpc, a);
      const [first] = ids;
      if (first === undefined) return stage.expect(false, "nothing was placed");
      const freed = addressOf(stage, first);
      stage.expectDone(await stage.change("Remove", [first], a));
      await stage.until(() => !a.machine.bundles.has(first), "it is removed");
      const refused = await fill(stage, vpc, a, 1);
      stage.expect(refused.ids.length === 0, "the freed address is given to nobody yet");
      heal();
      await stage.heal();
      await stage.sleep(10_000);
      const after = await fill(stage, vpc, a, 1);
      stage.expect(
        after.ids[0] !== undefined && addressOf(stage, after.ids[0]) === freed,
        `after a sync it is given again, not ${addressOf(stage, after.ids[0] ?? first)}`,
      );
      await stage.watch.healed();
    },
  },
  {
    hazard: "vni-clash",
    what: "two VPCs made in a cut share a VNI: the younger takes the next, on every host",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const [first, second] = clashingTokens(stage, a.peer, c.peer);
      const heal = stage.cut([c], [a, b]);
      await stage.sleep(15_000);
      const one = await make(stage, "shop", "10.0.0.0/24", [a], first);
      await stage.sleep(1_000);
      const two = await make(stage, "blog", "10.0.0.0/24", [c], second);
      stage.expect(vniAt(a, one) === vniAt(c, two), "they share one");
      heal();
      await stage.heal();
      await stage.sleep(10_000);
      for (const host of stage.world.hosts) {
        stage.expect(vniAt(host, one) !== vniAt(host, two), `not any more at ${host.name}`);
        stage.expect(vniAt(host, two) === vniAt(a, two) && vniAt(host, one) === a.life?.core.view.vpc(one)?.vni, `the elder kept it at ${host.name}`);
      }
      await stage.watch.healed();
    },
  },
];

const vniAt = (host: SimulatedHost, id: VpcId): number | undefined => assignVnis(host.life?.core.view.vpcs() ?? []).get(id);

function piecesOfAt(host: SimulatedHost, id: VpcId) {
  const vpc = host.life?.core.view.vpc(id);
  return vpc === undefined ? [] : piecesOf(vpc);
}

/** Its machine is switched off for good first; of what it had, `heir` gets the blocks. */
async function remove(stage: Stage, host: SimulatedHost, at: SimulatedHost, heir: PeerId): Promise<void> {
  const over = stage.world.disturb();
  host.cutPower();
  host.retired = true;
  const listed = await stage.world.admin.ask([at.endpoint], "ListHosts", {});
  const found = listed.reply?.hosts.find(({ id }) => id === host.peer);
  stage.expectDone(
    await stage.world.admin.ask([at.endpoint], "RemoveHost", {
      host: host.peer,
      force: true,
      countsToMajor: Math.max(1, found?.lastMajor ?? 1),
      countsToMinor: Math.max(1, found?.lastMinor ?? 1),
      allCertificates: true,
      heir,
    }),
  );
  over();
}
