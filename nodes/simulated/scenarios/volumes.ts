import type { ReplyOf } from "../../../src/api/client-messages.ts";
import type { VolumeId } from "../../../src/base/index.ts";
import type { SimulatedHost } from "../host.ts";
import type { Ask } from "../user.ts";
import type { Scenario, Stage } from "./scenario.ts";

const MIB = 1024 ** 2;

async function make(stage: Stage, name: string, at: readonly SimulatedHost[] = [stage.host(0)], token?: string): Promise<VolumeId> {
  const ask = await create(stage, name, at, token);
  const { id } = (ask.reply ?? { id: "" }) as ReplyOf<"CreateVolume">;
  if (ask.outcome !== "done") throw new Error(`volume ${name} was not made: ${ask.outcome} ${ask.message}`);
  stage.world.history.name(id, name);
  return id as VolumeId;
}

/** A volume that was mounted, and that no container has any more: one that has it would keep it anyway. */
async function makeUsed(stage: Stage, at: SimulatedHost): Promise<VolumeId> {
  const id = await make(stage, "data", [at]);
  const user = await stage.place(use(id, { host: at.name }));
  await stage.until(() => stage.running(user).length === 1, "it runs");
  stage.expectDone(await stage.change("Remove", [user]));
  await stage.until(() => !at.machine.bundles.has(user), "it is removed");
  return id;
}

function create(stage: Stage, name: string, at: readonly SimulatedHost[], token?: string): Promise<Ask> {
  const endpoints = at.map(({ endpoint }) => endpoint);
  return stage.user.ask(endpoints, "CreateVolume", { name, sizeBytes: 64 * MIB }, token);
}

const use = (volume: VolumeId, more: object = {}): object => ({ volumes: [{ volume, path: "/data", readOnly: false }], ...more });

function drop(stage: Stage, volumes: readonly VolumeId[], at: SimulatedHost = stage.host(0)): Promise<Ask> {
  return stage.user.ask([at.endpoint], "DeleteVolumes", { volumes: [...volumes] });
}

const done = (ask: Ask): readonly string[] => ((ask.reply ?? { done: [] }) as ReplyOf<"DeleteVolumes">).done;
const codes = (ask: Ask): readonly string[] => ((ask.reply ?? { errors: [] }) as ReplyOf<"DeleteVolumes">).errors.map(({ code }) => code);
const isListed = (host: SimulatedHost, id: VolumeId): boolean => host.life?.core.view.volume(id)?.gone === false;

/** Histories about volumes: who holds one, who may use it, and when it is gone. */
export const VOLUME_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "two-ids",
    what: "the reply to a volume's create is lost and the client goes to another peer: one volume, or 'unknown, ask that peer'",
    seeds: 4,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const over = stage.world.disturb();
      stage.world.api.faults.lossRate = 0.5;
      const asks = await Promise.all(
        ["one", "two", "three"].map((name, at) => create(stage, name, [stage.host(at), stage.host((at + 1) % 3), stage.host((at + 2) % 3)])),
      );
      stage.world.api.faults.lossRate = 0;
      over();
      for (const ask of asks)
        stage.expect(["done", "OUTCOME_UNKNOWN", "PEER_UNREACHABLE"].includes(ask.outcome), `it is done or unknown: ${ask.outcome} ${ask.message}`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "two-ids",
    what: "the peer that took a volume's create dies before it answers, and the client goes to another: one volume",
    seeds: 24,
    story: async (stage) => {
      const [a, b] = stage.world.hosts;
      if (a === undefined || b === undefined) return;
      const over = stage.world.disturb();
      const asking = create(stage, "data", [a, b]);
      await stage.sleep(10 + 2 * stage.world.seed);
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
    what: "one volume's name at three peers at once: one wins",
    seeds: 4,
    story: async (stage) => {
      for (const name of ["data", "logs", "mail"]) {
        const asks = await Promise.all(stage.world.hosts.map((at) => create(stage, name, [at])));
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
    what: "a volume is deleted at a peer that has not heard of it yet",
    // Of the two copies one may lie there.
    seeds: 6,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      stage.world.network.gossipCutTo.add(c.peer);
      const ids = [await make(stage, "data", [a]), await make(stage, "logs", [b])];
      for (const id of ids) stage.expect(done(await drop(stage, [id], c)).includes(id), "it is deleted");
      stage.world.network.gossipCutTo.clear();
      await stage.watch.healed();
      for (const id of ids) stage.expect(!stage.world.hosts.some((host) => isListed(host, id)), "an acknowledged delete means gone");
    },
  },
  {
    hazard: "absent-succeeds",
    what: "a volume's delete reaches only a host that has lost its store and nobody to refill it: it is not said to be gone",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await make(stage, "data", [a]);
      await stage.sleep(1_000);
      const heal = stage.cut([c], [a, b]);
      c.cutPower();
      c.disk.loseStore();
      c.boot();
      await stage.sleep(500);
      const ask = await drop(stage, [id], c);
      stage.expect(ask.outcome === "STORE_LOST" || ask.outcome === "STARTING", `it is refused: ${ask.outcome} ${ask.message}`);
      heal();
      await stage.heal();
      stage.expect(isListed(a, id), "it is still there");
      await stage.watch.healed();
    },
  },
  {
    hazard: "unbound-volume",
    what: "two runs use a new volume first, at two hosts at once: one file system",
    seeds: 6,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      for (const name of ["data", "logs", "mail"]) {
        const id = await make(stage, name, [a]);
        const asks = await Promise.all([stage.run(use(id, { host: b.name }), [b]), stage.run(use(id, { host: c.name }), [c]), stage.run(use(id), [a])]);
        stage.expect(asks.filter(({ outcome }) => outcome === "done").length >= 1, "one of them has it");
        await stage.sleep(2_000);
      }
      await stage.watch.healed();
    },
  },
  {
    hazard: "unbound-volume",
    what: "the giver's answer is lost and it dies: who was handed the volume finds out from the records",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await make(stage, "data", [a]);
      const over = stage.world.disturb();
      stage.world.network.lostReplies.set("handOverVolume", 1);
      const ask = await stage.run(use(id, { host: b.name }), [c]);
      stage.world.network.lostReplies.clear();
      stage.expect(ask.outcome !== "done", `nobody says it is done: ${ask.outcome}`);
      a.cutPower();
      a.boot();
      over();
      await stage.heal();
      await stage.sleep(2_000);
      const user = await stage.place(use(id, { host: b.name }), [c]);
      await stage.until(() => stage.running(user).length === 1, "it runs, with the volume that was handed over");
      stage.expectRefused(await stage.run(use(id, { host: a.name }), [c]), "NO_ROOM", "CONFLICT");
      await stage.watch.healed();
    },
  },
  {
    hazard: "volume-delete-race",
    what: "a delete and an attach of one volume at once, many times: one of them is refused",
    seeds: 6,
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      for (const name of ["data", "logs", "mail", "more"]) {
        const id = await make(stage, name, [a]);
        if (name !== "data") await stage.place(use(id, { command: ["sleep", "10", "0"], removeWhenEnded: true }));
        const [deleted, ran] = await Promise.all([drop(stage, [id], b), stage.run(use(id), [c])]);
        stage.expect(!(done(deleted).includes(id) && ran.outcome === "done"), `both were done with ${name}`);
        await stage.sleep(500);
      }
      await stage.watch.healed();
    },
  },
  {
    hazard: "volume-delete-race",
    what: "one of three volumes is in use, also by a container that has ended: none is deleted",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const ids = [await make(stage, "data", [a]), await make(stage, "logs", [b]), await make(stage, "mail", [c])];
      const [, , mail] = ids;
      if (mail === undefined) return;
      const user = await stage.place(use(mail, { command: ["sleep", "500", "0"] }));
      await stage.sleep(3_000);
      const refused = await drop(stage, ids, a);
      stage.expect(done(refused).length === 0 && codes(refused).includes("IN_USE"), `nothing was deleted: ${codes(refused).join(" ")}`);
      stage.expectDone(await stage.change("Start", [user]));
      await stage.until(() => stage.starts(user) === 2, "it runs once more, with its volume");
      stage.expectDone(await stage.change("Remove", [user]));
      const all = await drop(stage, ids, b);
      stage.expect(done(all).length === 3, `all three are gone: ${codes(all).join(" ")}`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "volume-delete-race",
    what: "the holder of one of two volumes cannot be reached: nothing is deleted; once it was removed its volume goes on the user's word",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const [near, far] = [await make(stage, "near", [a]), await make(stage, "far", [c])];
      c.retired = true;
      c.cutPower();
      await stage.sleep(10_000);
      const refused = await drop(stage, [near, far], b);
      stage.expect(done(refused).length === 0 && codes(refused).includes("HOST_UNREACHABLE"), `nothing was deleted: ${codes(refused).join(" ")}`);
      stage.expect(isListed(a, near), "what could be deleted was not either");
      const hosts = await stage.world.admin.ask([a.endpoint], "ListHosts", {});
      const last = (hosts.reply?.hosts ?? []).find(({ id }) => id === c.peer);
      const removal = { host: c.peer, countsToMajor: last?.lastMajor ?? 0, countsToMinor: last?.lastMinor ?? 0, allCertificates: true };
      stage.expectDone(await stage.world.admin.ask([a.endpoint], "RemoveHost", removal));
      await stage.sleep(2_000);
      stage.expect(done(await drop(stage, [near, far], b)).length === 2, "both are gone");
      await stage.watch.healed();
    },
  },
  {
    hazard: "orphan-sweep",
    what: "a host's store and what lies beside it are lost while it reaches nobody: its volumes' files stay, and serve again",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await makeUsed(stage, a);
      const heal = stage.cut([a], [b, c]);
      a.cutPower();
      a.disk.loseStore();
      a.disk.loseRecordsBeside();
      a.acceptLostStore = true;
      a.boot();
      await stage.sleep(20_000);
      stage.expect(a.machine.volumeFiles().has(id), "no volume is lost with a store");
      heal();
      await stage.heal();
      await stage.sleep(3_000);
      stage.expect(a.machine.volumeFiles().has(id) && isListed(a, id), "it is there when the records are back");
      await stage.watch.healed();
    },
  },
  {
    hazard: "orphan-sweep",
    what: "a host's store is lost while it reaches nobody: it goes on with what lies beside its containers and volumes",
    story: async (stage) => {
      const [a, b, c] = stage.world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await makeUsed(stage, a);
      const other = await stage.place(use(id, { host: a.name, command: ["sleep", "600000", "0"], restart: "always" }));
      await stage.until(() => stage.running(other).length === 1, "another runs");
      await stage.sleep(3_000);
      const heal = stage.cut([a], [b, c]);
      a.cutPower();
      a.disk.loseStore();
      a.acceptLostStore = true;
      a.boot();
      await stage.sleep(20_000);
      stage.expect(a.machine.volumeFiles().has(id), "no volume is lost with a store");
      stage.expect(isListed(a, id), "what lies beside it says whose it is");
      await stage.until(() => stage.running(other).length === 1, "what uses it runs again");
      stage.expect(a.life?.core.view.container(other)?.gone === false, "and is known");
      const early = await stage.run(use(id, { host: a.name }), [a]);
      const why = `${early.outcome} ${early.message}`;
      stage.expect(/^NO_ROOM .*lost its records and gives no address/.test(why), `its addresses may be others' by now: ${why}`);
      stage.expectDone(await stage.user.ask([a.endpoint], "Remove", { containers: [other], force: true }));
      heal();
      await stage.heal();
      await stage.sleep(10_000);
      stage.expect(a.machine.volumeFiles().has(id) && isListed(a, id), "it is there when the records are back");
      const ask = await stage.run(use(id, { host: a.name }), [a]);
      stage.expect(ask.outcome === "done", `it serves again: ${ask.outcome} ${ask.message}`);
      await stage.watch.healed();
    },
  },
  {
    hazard: "orphan-sweep",
    what: "the files of a volume that was used are gone from its host: no empty one is made in their place",
    story: async (stage) => {
      const [a] = stage.world.hosts;
      if (a === undefined) return;
      const id = await make(stage, "data", [a]);
      const first = await stage.place(use(id, { host: a.name }));
      await stage.until(() => stage.running(first).length === 1, "it runs");
      stage.expectDone(await stage.change("Remove", [first]));
      await stage.sleep(1_000);
      a.machine.loseVolume(id);
      const ask = await stage.run(use(id), [a]);
      await stage.sleep(3_000);
      if (ask.id !== undefined) stage.expect(stage.starts(ask.id) === 0, "nothing starts on an empty volume in the place of a used one");
    },
  },
];
