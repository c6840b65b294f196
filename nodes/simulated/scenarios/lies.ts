import type { ContainerId } from "../../../src/base/index.ts";
import { Liar } from "../liar.ts";
import { Replayer } from "../replayer.ts";
import type { Ask } from "../user.ts";
import type { Scenario, Stage } from "./scenario.ts";

const STREAM = 200;

/** Histories about hosts and eavesdroppers that say what is not so. */
export const LIE_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "liar",
    what: "one stolen host forges claims, phases, deletions, keys, floods and replays, and lies in its answers",
    zones: ["a", "a", "a", "a"],
    seeds: 3,
    story: async (stage) => {
      const { world } = stage;
      const liar = new Liar(world, stage.host(3), world.random(STREAM));
      const honest = world.hosts.filter((host) => host !== liar.host);
      const ids: ContainerId[] = [];
      for (const host of honest) ids.push(await stage.place({ host: host.name, restart: "always" }, [host]));
      liar.lieInAnswers(["observe", "reconcile", "askAround"]);
      const untilMs = world.timeline.nowMs + 20_000;
      await liar.attack(untilMs, 250);
      for (const [at, id] of ids.entries())
        stage.expect(stage.running(id).join() === honest[at]?.name, `${world.history.nameOf(id)} runs on as if nothing was`);
      // It stops nobody: everything can be done without it, and while it bids.
      liar.lieInAnswers(["askBid", "awardContainer"]);
      const done: Ask[] = [];
      for (let round = 0; round < 4; round += 1) done.push(await stage.run({ host: honest[round % 3]?.name ?? "" }, honest));
      for (const ask of done) stage.expectDone(ask);
      stage.expectDone(await stage.change("Stop", ids, honest[0]));
      await stage.watch.healed();
    },
  },
  {
    hazard: "liar",
    what: "a host takes a user's words for something else: a 'stop' for a removal, a run for a tombstone",
    story: async (stage) => {
      const { world } = stage;
      const [a, b] = world.hosts;
      if (a === undefined || b === undefined) return;
      const liar = new Liar(world, stage.host(2), world.random(STREAM));
      const id = await stage.place({ host: b.name }, [a]);
      stage.expectDone(await stage.change("Stop", [id], liar.host));
      stage.expectDone(await stage.change("Start", [id], a));
      await stage.until(() => stage.running(id).length === 1, "it runs again");
      await again(stage, liar, "twists words", 6, 1_000);
      stage.expect(stage.running(id).length === 1, "it runs on: nobody asked for its removal");
      for (const host of [a, b])
        stage.expect(host.life?.core.view.container(id)?.wanted?.call === "Start", `the start counts at ${host.name}, which came after the stop`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "liar",
    what: "a host restarts beside a liar that tells it of start numbers that it never had",
    zones: ["a", "a", "a", "a"],
    story: async (stage) => {
      const { world } = stage;
      const liar = new Liar(world, stage.host(3), world.random(STREAM));
      liar.lieInAnswers(["observe"]);
      const over = world.disturb();
      const [, restarted] = world.hosts;
      if (restarted === undefined) return;
      restarted.killPeer();
      await stage.sleep(1_000);
      const heal = stage.cut(world.hosts.slice(0, 1).concat(world.hosts.slice(2, 3)), [restarted]);
      restarted.boot();
      await stage.sleep(4_000);
      heal();
      await stage.heal();
      over();
      await stage.sleep(3_000);
      stage.expectDone(await stage.run({ host: restarted.name }, [restarted]));
      stage.expect((restarted.life?.core.replica.startNumber() ?? 0) < 2 ** 40, "nobody's word makes a start number that is near its end");
      await stage.watch.healed();
    },
  },
  {
    hazard: "restamp",
    what: "a host that was handed a user's 'stop' stamps it again after the user's 'start'",
    story: async (stage) => {
      const { world } = stage;
      const [a, b] = world.hosts;
      if (a === undefined || b === undefined) return;
      const id = await stage.place({ host: b.name }, [a]);
      const liar = new Liar(world, stage.host(2), world.random(STREAM));
      stage.expectDone(await stage.change("Stop", [id], liar.host));
      stage.expectDone(await stage.change("Start", [id], a));
      await stage.until(() => stage.running(id).length === 1, "it runs again");
      await again(stage, liar, "restamps", 6, 1_500);
      stage.expect(stage.running(id).length === 1, "a stop that was stamped twice stops nothing that was started since");
      await stage.watch.healed();
    },
  },
  {
    hazard: "restamp",
    what: "a host stamps what it was handed again, an hour earlier: nothing is taken back",
    story: async (stage) => {
      const { world } = stage;
      const [a, b] = world.hosts;
      if (a === undefined || b === undefined) return;
      const liar = new Liar(world, stage.host(2), world.random(STREAM));
      const kept = await stage.place({ host: b.name }, [liar.host]);
      const removed = await stage.place({ host: b.name }, [a]);
      await stage.until(() => stage.running(kept).length === 1, "it runs");
      stage.expectDone(await stage.change("Remove", [removed], liar.host));
      liar.host.time.skewMs = -3_600_000;
      await again(stage, liar, "restamps", 6, 1_500);
      for (const host of [a, b]) {
        stage.expect(host.life?.core.view.container(kept)?.gone === false, `what runs is listed at ${host.name}`);
        stage.expect(host.life?.core.view.container(removed)?.gone === true, `what was removed is removed at ${host.name}`);
      }
      await stage.watch.healed();
    },
  },
  {
    hazard: "restamp",
    what: "a host stamps a removal that it was handed again, an hour ahead, while another is cut off: removed is removed for both",
    story: async (stage) => {
      const { world } = stage;
      const [a, b] = world.hosts;
      if (a === undefined || b === undefined) return;
      const liar = new Liar(world, stage.host(2), world.random(STREAM));
      const id = await stage.place({ host: b.name }, [a]);
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const heal = stage.cut([b], [a, liar.host]);
      stage.expectDone(await stage.change("Remove", [id], liar.host));
      liar.host.time.skewMs = 3_600_000;
      await again(stage, liar, "restamps", 4, 1_500);
      heal();
      await stage.heal();
      await stage.watch.healed();
      for (const host of [a, b]) stage.expect(host.life?.core.view.container(id)?.gone === true, `it is removed at ${host.name}`);
    },
  },
  {
    hazard: "restamp",
    what: "somebody on the wire plays users' requests back, changed and unchanged",
    seeds: 2,
    story: async (stage) => {
      const replayer = new Replayer(stage.world, stage.world.random(STREAM));
      const ids = [await stage.place(), await stage.place({}, [stage.host(1)])];
      for (const id of ids) {
        await stage.change("Stop", [id]);
        await stage.change("Start", [id], stage.host(1));
      }
      for (let round = 0; round < 60; round += 1) await replayer.once();
      await stage.sleep(2_000);
      stage.host(0).killPeer();
      stage.host(0).boot();
      await stage.heal();
      for (let round = 0; round < 30; round += 1) await replayer.once();
      await stage.watch.healed();
    },
  },
  {
    hazard: "restamp",
    what: "requests signed ahead of time, by a clock that is fast, are played back after their peer's restart",
    story: async (stage) => {
      const replayer = new Replayer(stage.world, stage.world.random(STREAM));
      stage.user.time.skewMs = 150_000;
      const id = await stage.place({ host: stage.host(1).name });
      stage.expectDone(await stage.change("Stop", [id]));
      stage.expectDone(await stage.change("Start", [id]));
      const host = stage.host(0);
      for (const end of [() => host.killPeer(), () => host.cutPower()]) {
        end();
        host.boot();
        await stage.heal();
        for (let round = 0; round < 40; round += 1) await replayer.once();
      }
      stage.expect(stage.running(id).length === 1, "a stop that was played back stops nothing");
      await stage.watch.healed();
    },
  },
  {
    hazard: "second-life",
    what: "requests and records of what was removed are played back an hour later",
    story: async (stage) => {
      const { world } = stage;
      const liar = new Liar(world, stage.host(2), world.random(STREAM));
      const replayer = new Replayer(world, world.random(STREAM + 1));
      const id = await stage.place({ host: stage.host(1).name });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      liar.do("replays");
      stage.expectDone(await stage.change("Remove", [id]));
      const over = world.disturb();
      for (const host of world.hosts) host.time.skewMs += 3_600_000;
      stage.user.time.skewMs += 3_600_000;
      await stage.sleep(8_000);
      over();
      for (let round = 0; round < 30; round += 1) await replayer.once();
      for (let round = 0; round < 4; round += 1) {
        liar.do("replays");
        liar.do("restamps");
        await stage.sleep(1_000);
      }
      stage.expect(stage.starts(id) === 1, "what was removed has no second life");
      await stage.watch.healed();
    },
  },
  {
    hazard: "second-life",
    what: "removed on one side of a cut, started on the other later: it stays removed",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await stage.place({ host: c.name });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const heal = stage.cut([a, b], [c]);
      await stage.sleep(8_000);
      stage.expectDone(await stage.change("Remove", [id], a));
      stage.expectDone(await stage.change("Restart", [id], c));
      heal();
      await stage.heal();
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 0, "a removal is final, whatever came later elsewhere");
    },
  },
];

/** A lie may find nobody who listens, and a heard one is checked against what comes later: it is told several times. */
async function again(stage: Stage, liar: Liar, lie: Parameters<Liar["do"]>[0], times: number, everyMs: number): Promise<void> {
  for (let round = 0; round < times; round += 1) {
    liar.do(lie);
    await stage.sleep(everyMs);
  }
}
