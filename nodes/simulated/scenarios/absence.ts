import type { ContainerId, PeerId } from "../../../src/base/index.ts";
import type { Scenario } from "./scenario.ts";

const DAY_MS = 86_400_000;

/** Histories about who is away while others write, and what is found on the return. */
export const ABSENCE_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "dead-writer",
    what: "a host is off, its container is removed, the host returns",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await stage.place({ host: c.name, restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const over = stage.world.disturb();
      c.cutPower();
      await stage.sleep(10_000);
      stage.expectDone(await stage.change("Remove", [id], b));
      const before = stage.starts(id);
      c.boot();
      await stage.heal();
      over();
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 0, "what was removed does not run on the host that was off");
      stage.expect(stage.starts(id) === before, "what was removed is not started again");
    },
  },
  {
    hazard: "year-away",
    what: "a host is away for 400 days; what was removed meanwhile stays removed",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await stage.place({ host: c.name, restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const over = stage.world.disturb();
      c.cutPower();
      await stage.sleep(8_000);
      stage.expectDone(await stage.change("Remove", [id], a));
      for (const host of [a, b, c]) host.time.skewMs = 400 * DAY_MS;
      stage.user.time.skewMs = 400 * DAY_MS;
      await stage.sleep(8_000);
      c.boot();
      await stage.heal();
      over();
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 0, "400 days revive nothing");
    },
  },
  {
    hazard: "orphan-sweep",
    what: "a host's store is lost while no neighbour is reached: what runs there is left alone, and known again later",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await stage.place({ host: c.name });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const heal = stage.cut([a, b], [c]);
      // The peer dies, not the machine: containers run on.
      c.killPeer();
      c.disk.loseStore();
      c.disk.loseRecordsBeside();
      c.acceptLostStore = true;
      c.boot();
      await stage.sleep(20_000);
      stage.expect(stage.running(id).length === 1, "what an empty store does not know is left alone");
      heal();
      await stage.heal();
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 1 && stage.starts(id) === 1, "the process that was there is the one that is there");
    },
  },
  {
    hazard: "two-edits",
    what: "two people change one thing at once, at one peer and in a cut",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const names = ["ann", "ben", "cid", "dan"];
      const heal = stage.cut([a], [b, c]);
      await Promise.all([
        stage.world.newUser("ann", "operator", a),
        stage.world.newUser("ben", "viewer", a),
        stage.world.newUser("cid", "operator", b),
        stage.world.newUser("dan", "admin", b),
      ]);
      heal();
      await stage.heal();
      await stage.watch.healed();
      for (const { name, life } of stage.world.hosts) {
        const keys = new Set(
          life?.core.view
            .keys()
            .filter(({ state }) => state === "live")
            .map((key) => key.name),
        );
        stage.expect(
          names.every((key) => keys.has(key)),
          `every key that was made is known at ${name}`,
        );
      }
    },
  },
  {
    hazard: "copies-1",
    what: "a host alone acknowledges with one copy and says so",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const heal = stage.cut([a], [b, c]);
      await stage.sleep(8_000);
      const ask = await stage.run({ host: a.name });
      stage.expectDone(ask);
      stage.expect((ask.reply as { copies: number } | undefined)?.copies === 1, "one copy, and the answer says so");
      if (ask.id !== undefined) stage.expectDone(await stage.change("Stop", [ask.id], a));
      heal();
      await stage.heal();
      await stage.watch.healed();
    },
  },
  {
    hazard: "copies-1",
    what: "what is acknowledged is fsynced: power fails right after the answer",
    story: async (stage) => {
      const [a] = stage.world.hosts;
      if (a === undefined) return;
      const over = stage.world.disturb();
      for (const host of stage.world.hosts) {
        host.disk.speed.syncMsMin = 200;
        host.disk.speed.syncMsMax = 300;
      }
      const id = await stage.place();
      for (const host of stage.world.hosts) host.cutPower();
      await stage.sleep(500);
      for (const host of stage.world.hosts) host.boot();
      await stage.heal();
      stage.expectDone(await stage.change("Stop", [id], a));
      over();
      await stage.watch.healed();
    },
  },
  {
    hazard: "stricter-next",
    what: "a later version writes kinds that this one does not know: kept, passed on, nobody is scored for it",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a?.life === undefined || b === undefined || c === undefined) return;
      const { replica } = a.life.core;
      const key = `host/${a.peer}/a/gadget/later-1` as Parameters<typeof replica.get>[0];
      const heal = stage.cut([a], [c]);
      await replica.write([{ key, content: Uint8Array.of(1, 2, 3) }]);
      await stage.sleep(2_000);
      heal();
      await stage.heal();
      await stage.watch.healed();
      for (const { name, life } of stage.world.hosts) stage.expect(life?.core.replica.get(key) !== undefined, `${name} has kept what it does not understand`);
      stage.expect(
        stage.world.rejections.length === 0,
        `no honest neighbour is scored: ${stage.world.rejections.map((by: PeerId) => stage.world.history.nameOf(by)).join(" ")}`,
      );
    },
  },
  {
    hazard: "staggered-boot",
    what: "after a power cut everywhere hosts come back one by one: nothing is taken over, nothing that was removed starts",
    zones: ["a", "a", "a", "a"],
    story: async (stage) => {
      const hosts = stage.world.hosts;
      const ids: ContainerId[] = [];
      for (const host of hosts) ids.push(await stage.place({ host: host.name, restart: "always" }));
      const [kept = ids[0], removed] = ids;
      const [first] = hosts;
      if (kept === undefined || removed === undefined || first === undefined) return;
      await stage.until(() => ids.every((id) => stage.running(id).length === 1), "all run");
      const over = stage.world.disturb();
      hosts[1]?.cutPower();
      await stage.sleep(8_000);
      stage.expectDone(await stage.change("Remove", [removed], first));
      for (const host of hosts) host.cutPower();
      for (const host of hosts) {
        await stage.sleep(4_000);
        host.boot();
      }
      await stage.heal();
      over();
      await stage.watch.healed();
      for (const [at, id] of ids.entries()) {
        const expected = id === removed ? [] : [hosts[at]?.name];
        stage.expect(
          JSON.stringify(stage.running(id)) === JSON.stringify(expected),
          `each container is back on its own host: ${stage.world.history.nameOf(id)} runs on ${stage.running(id).join(" ")}`,
        );
      }
      stage.expect(stage.starts(removed) === 1, "what was removed does not start in between");
    },
  },
];
