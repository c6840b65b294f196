import { type ContainerId, formatIp, sizeOf, type VpcId } from "../../../src/base/index.ts";
import { piecesOf, placeOf } from "../../../src/vpc/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Ask } from "../user.ts";
import type { Scenario, Stage } from "./scenario.ts";
import { makeVpc, removeHost, small } from "./vpc-stage.ts";

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

function piecesOfAt(host: SimulatedHost, id: VpcId) {
  const vpc = host.life?.core.view.vpc(id);
  return vpc === undefined ? [] : piecesOf(vpc);
}

/** Histories about addresses: who owns which block, and when a freed one is used again. */
export const VPC_ADDRESS_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "double-block",
    what: "both sides of a cut run in one VPC until its addresses there are gone; healed, the rest is given out to the last",
    zones: ["a", "a", "a", "a"],
    seeds: 3,
    story: async (stage) => {
      const [a, b, c, d] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined || d === undefined) return;
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/27", [a]);
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
    hazard: "double-block",
    what: "many hosts ask one owner for addresses at once: no block goes to two of them",
    zones: ["a", "a", "a", "a", "a", "a"],
    seeds: 2,
    story: async (stage) => {
      const [owner, ...others] = stage.world.hosts;
      if (owner === undefined) return;
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/26", [owner]);
      await stage.sleep(1_000);
      const share = (host: SimulatedHost): number =>
        piecesOfAt(host, vpc).reduce((sum, piece) => sum + (piece.owner === host.peer ? Number(sizeOf(piece.block)) : 0), 0);
      await Promise.all(others.map((host) => fill(stage, vpc, host, share(host) - 1)));
      // Long enough that all have asked before the first has its block.
      Object.assign(owner.disk.speed, { syncMsMin: 40, syncMsMax: 60 });
      for (let round = 1; round <= 2; round += 1) {
        const given = await Promise.all(others.map((host) => fill(stage, vpc, host, 1)));
        const refused = given.flatMap(({ refusal }) => refusal?.message ?? []);
        stage.expect(refused.length === 0, `the owner gives to each that asks, round ${round}: ${refused[0]}`);
      }
      await stage.watch.healed();
    },
  },
  {
    hazard: "double-block",
    what: "a host forgets with its store that it gave addresses away: it gives none until it has heard everybody",
    seeds: 3,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/28", [a]);
      await stage.sleep(2_000);
      const early = stage.cut([c], [a, b]);
      await stage.sleep(15_000);
      const { ids } = await fill(stage, vpc, b);
      early();
      const late = stage.cut([b], [a, c]);
      a.cutPower();
      a.disk.loseStore();
      a.acceptLostStore = true;
      a.boot();
      await stage.sleep(15_000);
      const refused = await fill(stage, vpc, a);
      stage.expect(refused.ids.length === 0 && /lost its records/.test(refused.refusal?.message ?? ""), `it gives none: ${refused.refusal?.message}`);
      late();
      await stage.heal();
      await stage.sleep(12_000);
      const all = [...ids, ...(await fill(stage, vpc, a)).ids, ...(await fill(stage, vpc, c)).ids];
      stage.expect(new Set(all.map((id) => addressOf(stage, id))).size === all.length, "each to one container");
      stage.expect(all.length === 13, `13 addresses are given out to the last, not ${all.length}`);
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
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/28", [a]);
      await stage.sleep(2_000);
      const before = await fill(stage, vpc, b, 3);
      await removeHost(stage, c, a, b.peer);
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
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/28", [a]);
      await stage.sleep(2_000);
      const heal = stage.cut([a], [b, c]);
      await stage.sleep(15_000);
      // b has more than its own share: the rest is from c.
      const own = piecesOfAt(b, vpc).filter(({ owner }) => owner === b.peer);
      const filled = await fill(stage, vpc, b);
      stage.expect(filled.ids.length > own.reduce((sum, { block }) => sum + 2 ** (32 - block.bits), 0), "it got addresses of c");
      await removeHost(stage, c, a, a.peer);
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
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/28", [a]);
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
];
