import type { Scenario } from "./scenario.ts";

const MIB = 1024 ** 2;

/** Histories about finding a host, names and tokens. */
export const PLACEMENT_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "two-creates",
    what: "one name at two peers at once: one wins; made in a cut: both live, the bare name is refused",
    seeds: 6,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      for (const name of ["web", "api", "job", "mail"]) {
        await Promise.all([a, b, c].map((at) => stage.run({ name }, [at])));
      }
      const heal = stage.cut([a], [b, c]);
      await stage.sleep(8_000);
      stage.expectDone(await stage.run({ name: "db", host: a.name }, [a]));
      stage.expectDone(await stage.run({ name: "db", host: b.name }, [b]));
      heal();
      await stage.heal();
      await stage.sleep(3_000);
      const resolved = await stage.user.ask([c.endpoint], "Resolve", { kind: "container", names: ["db"] });
      const reply = resolved.reply as { errors: readonly { code: string }[] } | undefined;
      stage.expect(reply?.errors[0]?.code === "NAME_AMBIGUOUS", "a name that two have means neither");
      await stage.watch.healed();
    },
  },
  {
    hazard: "two-ids",
    what: "the reply of a run is lost and the client goes to another peer: one token, one container",
    seeds: 4,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const over = stage.world.disturb();
      stage.world.api.faults.lossRate = 0.5;
      const asks = await Promise.all([stage.run({}, [a, b, c]), stage.run({}, [b, c, a]), stage.run({}, [c, a, b])]);
      stage.world.api.faults.lossRate = 0;
      over();
      await stage.watch.healed();
      const live = stage.host(0).life?.core.view.containers() ?? [];
      stage.expect(live.length <= asks.length, `${asks.length} runs made ${live.length} containers`);
    },
  },
  {
    hazard: "retry-elsewhere",
    what: "the retry of a restart comes after a newer restart: each token starts once",
    story: async (stage) => {
      const [a, b] = stage.world.hosts;
      if (a === undefined || b === undefined) return;
      const id = await stage.place({ host: b.name });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const restart = async (token: string, at: typeof a): Promise<void> => {
        stage.expectDone(await stage.user.ask([at.endpoint], "Restart", { containers: [id] }, token));
        await stage.sleep(3_000);
      };
      await restart("an-older-wish", a);
      await restart("a-newer-wish", b);
      await restart("an-older-wish", stage.host(2));
      await stage.watch.healed();
      stage.expect(stage.starts(id) === 3 && stage.running(id).length === 1, "it runs since the newer wish");
    },
  },
  {
    hazard: "absent-succeeds",
    what: "a container is removed at a peer that has not heard of it yet",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      // No gossip and no repair reaches C from the others; calls do.
      stage.world.network.gossipCutTo.add(c.peer);
      const ids = [await stage.place({ host: b.name }, [a]), await stage.place({ host: b.name }, [b])];
      for (const id of ids) {
        const ask = await stage.change("Remove", [id], c);
        stage.expectDone(ask);
      }
      stage.world.network.gossipCutTo.clear();
      await stage.watch.healed();
      for (const id of ids) stage.expect(stage.running(id).length === 0, "an acknowledged removal means gone");
    },
  },
  {
    hazard: "lost-award",
    what: "answers to awards are lost: nobody else is awarded while the first may have taken it",
    zones: ["a", "a", "a", "a"],
    seeds: 4,
    story: async (stage) => {
      const { network } = stage.world;
      // Who is asked has no room itself.
      for (const at of [0, 1]) stage.expectDone(await stage.run({ host: stage.host(at).name, memoryBytes: 1_900 * MIB }));
      const over = stage.world.disturb();
      // Neither the answer nor the news of the claim comes back.
      network.lostReplies.set("awardContainer", 1);
      network.lostReplies.set("reconcile", 1);
      for (const host of stage.world.hosts) network.gossipCutTo.add(host.peer);
      const asking = [0, 1, 0, 1].map((at) => stage.run({ memoryBytes: 512 * MIB }, [stage.host(at)]));
      await stage.sleep(6_000);
      network.lostReplies.clear();
      network.gossipCutTo.clear();
      const asks = await Promise.all(asking);
      over();
      for (const ask of asks) stage.expect(["done", "OUTCOME_UNKNOWN"].includes(ask.outcome), `it is done or unknown: ${ask.outcome}`);
      await stage.watch.healed();
      for (const ask of asks) if (ask.id !== undefined) stage.expect(stage.starts(ask.id) <= 1, `one start per token: ${stage.starts(ask.id)}`);
    },
  },
  {
    hazard: "lost-award",
    what: "in a cut a container was placed twice; who learns of the better claim before the start does not start",
    seeds: 3,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const token = stage.user.newToken();
      const heal = stage.cut([a], [b, c]);
      await stage.sleep(8_000);
      const [first] = await Promise.all([stage.run({ image: "slow1" }, [a], token), stage.run({ image: "slow1" }, [b], token)]);
      await stage.sleep(2_000);
      heal();
      await stage.heal();
      // The pulls of two minutes end long after both know of each other.
      await stage.sleep(130_000);
      if (first.id !== undefined) stage.expect(stage.starts(first.id) === 1, `it is started once: ${stage.starts(first.id)}`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "retry-elsewhere",
    what: "one token at three peers at nearly the same time",
    zones: ["a", "a", "a", "a"],
    seeds: 8,
    story: async (stage) => {
      // Starts are faster than news: whoever is asked second has to be told.
      for (const host of stage.world.hosts) await stage.place({ host: host.name });
      await stage.until(() => stage.world.hosts.every((host) => host.machine.running().length === 1), "every host has the image");
      for (const host of stage.world.hosts) Object.assign(host.machine.speed, { startMsMin: 1, startMsMax: 3 });
      stage.world.network.behave({ delayMsMin: 20, delayMsMax: 60 });
      for (let round = 0; round < 4; round += 1) {
        const token = stage.user.newToken();
        const asks = [0, 1, 2].map(async (at) => {
          // Later than the first one's request takes to be heard of.
          await stage.sleep(at * (70 + (stage.world.seed % 4) * 25));
          return stage.run({}, [stage.host(at)], token);
        });
        const [first] = await Promise.all(asks);
        await stage.sleep(3_000);
        if (first?.id !== undefined) stage.expect(stage.starts(first.id) === 1, `one token starts once, not ${stage.starts(first.id)} times`);
      }
      await stage.watch.healed();
    },
  },
  {
    hazard: "slow-pull",
    what: "pulls take minutes; the room is not given to others meanwhile",
    story: async (stage) => {
      const big = { memoryBytes: 1_536 * MIB, image: "slow1" };
      const asks = await Promise.all([stage.run(big, [stage.host(0)]), stage.run(big, [stage.host(1)]), stage.run(big, [stage.host(2)])]);
      for (const ask of asks) stage.expectDone(ask);
      for (let round = 0; round < 8; round += 1) {
        await stage.sleep(9_000);
        stage.expectRefused(await stage.run({ memoryBytes: 1_024 * MIB }, [stage.host(round % 3)]), "NO_ROOM");
      }
      await stage.sleep(60_000);
      await stage.watch.healed();
    },
  },
  {
    hazard: "lost-bids",
    what: "bid requests over gossip are lost: the silent are asked before anybody says 'no room'",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      stage.expectDone(await stage.run({ host: a.name, memoryBytes: 2_000 * MIB }));
      for (const host of [a, b, c]) stage.world.network.gossipCutTo.add(host.peer);
      stage.expectDone(await stage.run({ memoryBytes: 512 * MIB }, [a]));
      stage.expectDone(await stage.run({ memoryBytes: 512 * MIB }, [a]));
      stage.world.network.gossipCutTo.clear();
      await stage.watch.healed();
    },
  },
  {
    hazard: "both-yield",
    what: "one token was placed on both sides of a cut: afterwards one goes on, the other gives way",
    zones: ["a", "a", "a", "a"],
    seeds: 3,
    story: async (stage) => {
      const [a, b, c, d] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined || d === undefined) return;
      const heal = stage.cut([a, b], [c, d]);
      await stage.sleep(8_000);
      const token = stage.user.newToken();
      const [first, second] = await Promise.all([stage.run({}, [a], token), stage.run({}, [d], token)]);
      stage.expectDone(first);
      stage.expectDone(second);
      const { id } = first;
      if (id === undefined) return;
      await stage.until(() => stage.running(id).length === 2, "both sides run it");
      heal();
      await stage.heal();
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 1, `one goes on, not ${stage.running(id).length}`);
    },
  },
  {
    hazard: "half-reachable",
    what: "the host with the room answers others but not the peer that was asked",
    seeds: 4,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      for (const host of [a, b]) stage.expectDone(await stage.run({ host: host.name, memoryBytes: 1_900 * MIB }));
      // As soon as its bid has come, its award can't reach it any more.
      let heal: () => void = () => undefined;
      let isCut = false;
      stage.world.watchers.onCall.push(({ from, to, name }) => {
        if (isCut || name !== "bid" || from !== c.peer || to !== a.peer) return;
        isCut = true;
        heal = stage.cut([a], [c]);
      });
      const ask = await stage.run({ memoryBytes: 512 * MIB }, [a]);
      stage.expect(["done", "OUTCOME_UNKNOWN"].includes(ask.outcome), `it is done through another, or unknown: ${ask.outcome} ${ask.message}`);
      stage.expect((ask.endedAtMs ?? 0) - ask.startedAtMs < 40_000, "and that is said in time");
      heal();
      await stage.heal();
      await stage.watch.healed();
    },
  },
  {
    hazard: "ask-storm",
    what: "a script polls a wrong id",
    story: async (stage) => {
      let calls = 0;
      stage.world.watchers.onCall.push(({ name }) => {
        if (name === "askAround") calls += 1;
      });
      for (let poll = 0; poll < 60; poll += 1) await stage.user.ask([stage.host(0).endpoint], "ContainerStatus", { containers: ["caaaaaaaaaaaaaaaaaaaa"] });
      // One round in two seconds, to two neighbours.
      const rounds = stage.world.timeline.nowMs / 2_000 + 2;
      stage.world.history.add("story", `60 polls made ${calls} calls`);
      if (calls > 2 * rounds) stage.world.violate("bounded", `60 polls of a wrong id made ${calls} calls to neighbours`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "no-room",
    what: "users ask at once for twice the room that there is",
    story: async (stage) => {
      const asks = await Promise.all(Array.from({ length: 14 }, (_, at) => stage.run({ memoryBytes: 900 * MIB }, [stage.host(at % 3)])));
      for (const ask of asks) if (ask.outcome !== "done") stage.expectRefused(ask, "NO_ROOM");
      stage.expect(asks.filter(({ outcome }) => outcome === "done").length === 6, "two fit on each of three hosts");
      await stage.watch.healed();
    },
  },
  {
    hazard: "no-room",
    what: "a claim that gave way holds no room",
    zones: ["a", "a", "a", "a"],
    seeds: 2,
    story: async (stage) => {
      const [a, b, c, d] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined || d === undefined) return;
      const heal = stage.cut([a, b], [c, d]);
      await stage.sleep(8_000);
      const token = stage.user.newToken();
      await Promise.all([stage.run({ memoryBytes: 1_024 * MIB }, [a], token), stage.run({ memoryBytes: 1_024 * MIB }, [d], token)]);
      heal();
      await stage.heal();
      await stage.watch.healed();
    },
  },
  {
    hazard: "slow-pull",
    what: "a claim is not fsynced when the power fails: nobody else has it, and its room is not given twice",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const over = stage.world.disturb();
      const healSide = stage.cut([a, b], [c]);
      await stage.sleep(8_000);
      Object.assign(b.disk.speed, { syncMsMin: 9_000, syncMsMax: 9_000 });
      const first = stage.run({ host: b.name, memoryBytes: 1_500 * MIB }, [a]);
      await stage.sleep(7_000);
      b.cutPower();
      Object.assign(b.disk.speed, { syncMsMin: 0, syncMsMax: 4 });
      healSide();
      const healOther = stage.cut([a], [b, c]);
      b.boot();
      await stage.sleep(14_000);
      stage.expectDone(await stage.run({ host: b.name, memoryBytes: 1_500 * MIB }, [c]));
      healOther();
      over();
      await stage.heal();
      await first;
      await stage.watch.healed();
    },
  },
];
