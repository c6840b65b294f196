import type { ReplyOf } from "../../../src/api/client-messages.ts";
import type { PeerId, VpcId } from "../../../src/base/index.ts";
import { vpcIdOf } from "../../../src/state/index.ts";
import { assignVnis, vniCandidates } from "../../../src/vpc/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Ask } from "../user.ts";
import type { Scenario, Stage } from "./scenario.ts";
import { createVpc, makeVpc, small } from "./vpc-stage.ts";

const drop = (stage: Stage, vpcs: readonly VpcId[], at: SimulatedHost = stage.host(0)): Promise<Ask> =>
  stage.user.ask([at.endpoint], "DeleteVpcs", { vpcs: [...vpcs] });
const done = (ask: Ask): readonly string[] => ((ask.reply ?? { done: [] }) as ReplyOf<"DeleteVpcs">).done;
const isListed = (host: SimulatedHost, id: VpcId): boolean => host.life?.core.view.vpc(id)?.gone === false;
const vniAt = (host: SimulatedHost, id: VpcId): number | undefined => assignVnis(host.life?.core.view.vpcs() ?? []).get(id);

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

/** Histories about VPCs: what one is, when it is gone, and its VNI. */
export const VPC_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "two-ids",
    what: "the peer that took a VPC's create dies before it answers, and the client goes to another: one VPC",
    seeds: 12,
    story: async (stage) => {
      const [a, b] = stage.world.hosts;
      if (a === undefined || b === undefined) return;
      const over = stage.world.disturb();
      const asking = createVpc(stage, "shop", "10.0.0.0/24", [a, b]);
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
        const asks = await Promise.all(stage.world.hosts.map((at) => createVpc(stage, name, "10.0.0.0/24", [at])));
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
    seeds: 6,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      stage.world.network.gossipCutTo.add(c.peer);
      const ids = [await makeVpc(stage, "shop", "10.0.0.0/24", [a]), await makeVpc(stage, "blog", "10.0.0.0/24", [b])];
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
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/24", [a]);
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
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/24", [a]);
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
      const vpc = await makeVpc(stage, "shop", "10.0.0.0/24", [a]);
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
    hazard: "vni-clash",
    what: "two VPCs made in a cut share a VNI: the younger takes the next, on every host",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const [first, second] = clashingTokens(stage, a.peer, c.peer);
      const heal = stage.cut([c], [a, b]);
      await stage.sleep(15_000);
      const one = await makeVpc(stage, "shop", "10.0.0.0/24", [a], first);
      await stage.sleep(1_000);
      const two = await makeVpc(stage, "blog", "10.0.0.0/24", [c], second);
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
