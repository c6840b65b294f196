import { backUp, restoreBackup } from "../faults.ts";
import type { Scenario } from "./scenario.ts";

const DAY_MS = 86_400_000;

/** Histories about records, disks and clocks. */
export const STATE_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "sequence-reuse",
    what: "a host gossips records, loses power before they are fsynced, and writes others after its return",
    story: async (stage) => {
      const [, writer] = stage.world.hosts;
      if (writer === undefined) return;
      const id = await stage.place({ host: writer.name, restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const over = stage.world.disturb();
      writer.disk.speed.syncMsMin = 3_000;
      writer.disk.speed.syncMsMax = 3_000;
      // Phases of the restart leave by gossip at once; the disk has none of them when power fails.
      const restarting = stage.change("Restart", [id], writer);
      await stage.sleep(1_500);
      writer.cutPower();
      writer.disk.speed.syncMsMin = 0;
      writer.disk.speed.syncMsMax = 4;
      await stage.sleep(500);
      writer.boot();
      over();
      await stage.heal();
      await restarting;
      stage.expectDone(await stage.change("Stop", [id], writer));
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 0, "the container was stopped");
    },
  },
  {
    hazard: "gap-by-overwrite",
    what: "a record is overwritten again and again while a neighbour is cut",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const ids = [await stage.place({ host: a.name }), await stage.place({ host: a.name }), await stage.place({ host: a.name })];
      for (const id of ids) await stage.change("Stop", [id], a);
      await stage.sleep(3_000);
      const heal = stage.cut([a, b], [c]);
      // Nothing is new, everything is changed: counts say nothing.
      for (const id of ids) {
        await stage.change("Start", [id], a);
        await stage.change("Stop", [id], a);
      }
      heal();
      await stage.heal();
      await stage.watch.healed();
    },
  },
  {
    hazard: "rolled-back-disk",
    what: "a host returns with an old disk, and its containers were changed since",
    story: async (stage) => {
      const [a, b] = stage.world.hosts;
      if (a === undefined || b === undefined) return;
      const stopped = await stage.place({ host: b.name, restart: "always" });
      const removed = await stage.place({ host: b.name, restart: "always" });
      await stage.until(() => stage.running(removed).length === 1, "they run");
      backUp(b);
      stage.expectDone(await stage.change("Stop", [stopped], a));
      stage.expectDone(await stage.change("Remove", [removed], a));
      const over = stage.world.disturb();
      b.cutPower();
      restoreBackup(b);
      const before = stage.world.runs.length;
      b.boot();
      await stage.heal();
      over();
      await stage.watch.healed();
      stage.expect(stage.world.runs.length === before, "nothing that was stopped or removed is started by a host with an old disk");
    },
  },
  {
    hazard: "rolled-back-disk",
    what: "a host with an old disk comes back late and alone, acts, and meets its own newer records",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const before = await stage.place({ host: b.name, restart: "always" });
      await stage.until(() => stage.running(before).length === 1, "it runs");
      const over = stage.world.disturb();
      backUp(b);
      for (let start = 0; start < 3; start += 1) {
        b.killPeer();
        b.boot();
        await stage.world.untilReady([b]);
        stage.expectDone(await stage.change("Restart", [before], b));
      }
      await stage.sleep(2_000);
      b.cutPower();
      restoreBackup(b);
      const heal = stage.cut([a, c], [b]);
      b.boot();
      await stage.world.untilReady([b], 20_000);
      stage.expectDone(await stage.run({ host: b.name }, [b]));
      heal();
      over();
      await stage.heal();
      await stage.sleep(3_000);
      stage.expectDone(await stage.change("Stop", [before], b));
      await stage.watch.healed();
    },
  },
  {
    hazard: "rolled-back-disk",
    what: "a host with an old disk comes back alone and starts what was removed, and meets its own word that it is gone",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await stage.place({ host: b.name, restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      backUp(b);
      stage.expectDone(await stage.change("Remove", [id], a));
      await stage.until(() => a.life?.core.view.container(id)?.phase?.phase === "gone", "its holder says that it is gone");
      const over = stage.world.disturb();
      b.cutPower();
      restoreBackup(b);
      const heal = stage.cut([a, c], [b]);
      b.boot();
      await stage.until(() => stage.running(id).length === 1, "a host that knows no better starts it", 60_000);
      heal();
      over();
      await stage.heal();
      await stage.until(() => stage.running(id).length === 0, "what is gone does not stay");
      await stage.watch.healed();
    },
  },
  {
    hazard: "future-clock",
    what: "one host's clock is a day ahead, another's a day behind, and users change one container at both",
    zones: ["a", "a", "a", "a", "a"],
    story: async (stage) => {
      const [a, ahead, behind] = stage.world.hosts;
      if (a === undefined || ahead === undefined || behind === undefined) return;
      const id = await stage.place({ host: a.name });
      const over = stage.world.disturb();
      ahead.time.skewMs = DAY_MS;
      behind.time.skewMs = -DAY_MS;
      await stage.sleep(8_000);
      over();
      await stage.sleep(20_000);
      stage.expectDone(await stage.change("Stop", [id], ahead));
      stage.expectDone(await stage.change("Start", [id], a));
      await stage.sleep(3_000);
      stage.expect(stage.running(id).length === 1, "the start came after the stop that was stamped by the host a day ahead");
      stage.expectDone(await stage.change("Stop", [id], behind));
      await stage.sleep(3_000);
      stage.expect(stage.running(id).length === 0, "the stop came after the start, though it was stamped by the host a day behind");
      stage.expectDone(await stage.run({}, [ahead]));
      stage.expectDone(await stage.run({}, [behind]));
      await stage.watch.healed();
    },
  },
  {
    hazard: "future-clock",
    what: "a change is stamped by a host alone whose clock is ahead, acted on, and the clock put right",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const restarted = await stage.place({ host: b.name, restart: "always" });
      const stopped = await stage.place({ host: b.name, restart: "always" });
      await stage.until(() => stage.running(stopped).length === 1, "they run");
      const heal = stage.cut([a, c], [b]);
      b.time.skewMs = 90_000;
      await stage.sleep(8_000);
      stage.expectDone(await stage.change("Restart", [restarted], b));
      stage.expectDone(await stage.change("Stop", [stopped], b));
      await stage.sleep(3_000);
      b.cutPower();
      b.time.skewMs = 0;
      heal();
      b.boot();
      await stage.heal();
      await stage.sleep(5_000);
      stage.expect(stage.starts(stopped) === 1, "what was stopped is not started by the older wish");
      await stage.watch.healed();
    },
  },
];
