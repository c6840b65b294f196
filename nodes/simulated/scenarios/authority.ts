import { base64Url } from "../../../src/identity/index.ts";
import { Liar } from "../liar.ts";
import type { Scenario } from "./scenario.ts";

const STREAM = 200;

/** Histories about who may do what. */
export const AUTHORITY_SCENARIOS: readonly Scenario[] = [
  {
    hazard: "revoked-owner",
    what: "an operator's key is revoked: what it asked for before stays, what it asks for now is refused",
    story: async (stage) => {
      const { world } = stage;
      const id = await stage.place({ restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      stage.expectDone(await world.admin.ask([stage.host(1).endpoint], "RevokeKey", { key: stage.user.keyId, keepAll: true }));
      await stage.sleep(2_000);
      for (const host of world.hosts) {
        const ask = await stage.run({}, [host]);
        if (ask.outcome === "done") world.violate("power", `a revoked key runs a container at ${host.name}`);
        stage.expectRefused(ask, "KEY_REVOKED");
      }
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 1, "revoking a key deletes nothing");
    },
  },
  {
    hazard: "revoked-owner",
    what: "a revoked key runs a container at a host that has not heard of it: nobody lists it, a removal by its id ends it",
    story: async (stage) => {
      const { world } = stage;
      const [a, b, c] = world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const heal = stage.cut([a, b], [c]);
      stage.expectDone(await world.admin.ask([a.endpoint], "RevokeKey", { key: stage.user.keyId, keepAll: true }));
      await stage.sleep(2_000);
      const id = await stage.place({ restart: "always" }, [c]);
      await stage.until(() => stage.running(id).length === 1, "it runs where the news has not come");
      const before = c.life?.core.used().containers;
      heal();
      await stage.heal();
      await stage.sleep(5_000);
      stage.expect(before === 1 && a.life?.core.view.container(id) === undefined, "it counts for nobody");
      stage.expectDone(await stage.change("Remove", [id], a, world.admin));
      await stage.until(() => stage.running(id).length === 0, "its holder ends it");
      await stage.watch.healed();
      stage.expect(c.life?.core.used().containers === 0, "its room is free");
    },
  },
  {
    hazard: "removed-sponsor",
    what: "a host that had admitted others is removed: they stay members",
    zones: ["a", "a", "a"],
    story: async (stage) => {
      const { world } = stage;
      const [a, sponsor] = world.hosts;
      if (a === undefined || sponsor === undefined) return;
      const sponsored = await world.join("a", sponsor);
      await world.untilConnected();
      // What was signed in the second of its start it does not take.
      await stage.sleep(2_000);
      const id = await stage.place({ host: sponsored.name });
      await removeHost(stage, sponsor, a);
      await stage.sleep(3_000);
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 1, "the host that it had admitted goes on");
      stage.expect(a.life?.core.view.member(sponsored.peer) !== undefined, "and is a member still");
    },
  },
  {
    hazard: "removed-sponsor",
    what: "a host whose clock is an hour behind, cut off, is told to remove the founder and to revoke a key: nothing from before ends with them",
    story: async (stage) => {
      const { world } = stage;
      const [a, b, c] = world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const id = await stage.place({ host: b.name, restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      await stage.sleep(2_000);
      const heal = stage.cut([a, b], [c]);
      await stage.sleep(10_000);
      c.time.skewMs = -3_600_000;
      const { admin } = world;
      const removal = { host: a.peer, force: true, countsToMajor: 1, countsToMinor: 1, allCertificates: true };
      stage.expectRefused(await admin.ask([c.endpoint], "RemoveHost", removal), "CLOCK_SKEW");
      stage.expectRefused(await admin.ask([c.endpoint], "RevokeKey", { key: stage.user.keyId, keepAll: true }), "CLOCK_SKEW");
      c.time.skewMs = 0;
      heal();
      await stage.heal();
      stage.expectDone(await admin.ask([b.endpoint], "RevokeKey", { key: stage.user.keyId, keepAll: true }));
      await stage.watch.healed();
      stage.expect(a.life?.core.view.members().length === 3 && stage.running(id).length === 1, "all are members, and it runs");
    },
  },
  {
    hazard: "removed-sponsor",
    what: "a removed host keeps talking: nothing that it writes counts, nobody answers it",
    story: async (stage) => {
      const { world } = stage;
      const [a, b, removed] = world.hosts;
      if (a === undefined || b === undefined || removed === undefined) return;
      const id = await stage.place({ host: removed.name, restart: "always" });
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const liar = new Liar(world, removed, world.random(STREAM));
      await removeHost(stage, removed, a, false);
      await stage.sleep(2_000);
      for (let round = 0; round < 6; round += 1) {
        liar.do("claims what runs elsewhere");
        liar.do("restamps");
        const ask = await stage.run({}, [removed]);
        if (ask.outcome === "done" && ask.id !== undefined && a.life?.core.view.container(ask.id) !== undefined)
          world.violate("power", "a removed host places containers in the mesh");
        await stage.sleep(500);
      }
      stage.expect(a.life?.core.mesh.connected().includes(removed.peer) === false, "it has no connection any more");
      stage.expect(a.life?.core.view.container(id)?.best === undefined, "what it held is lost, and said to be");
      removed.retired = true;
      removed.cutPower();
      await stage.watch.healed();
    },
  },
  {
    hazard: "back-door",
    what: "a revoked admin signs a key at a peer that is cut off and has not heard of it",
    story: async (stage) => {
      const { world } = stage;
      const [a, b, c] = world.hosts;
      if (a === undefined || b === undefined || c === undefined) return;
      const eve = await world.newUser("eve2", "admin", a);
      await stage.sleep(1_000);
      const heal = stage.cut([a, b], [c]);
      stage.expectDone(await world.admin.ask([a.endpoint], "RevokeKey", { key: eve.keyId, keepAll: false }));
      const door = world.keys.make(world.random(STREAM));
      const asked = await eve.ask([c.endpoint], "CreateKey", { publicKey: base64Url(door.signer.publicKey), role: "admin", name: "door" });
      stage.expectDone(asked);
      heal();
      await stage.heal();
      await stage.watch.healed();
      for (const { name, life } of world.hosts) {
        const key = life?.core.view.keys().find((one) => one.name === "door");
        stage.expect(key === undefined || key.state !== "live", `the back door is shut at ${name}`);
      }
    },
  },
  {
    hazard: "invite-flood",
    what: "many hosts show one invite of two uses at once, the issuer dies in between",
    seeds: 2,
    story: async (stage) => {
      const { world } = stage;
      const [issuer] = world.hosts;
      if (issuer === undefined) return;
      issuer.disk.speed.syncMsMax = 200;
      const key = world.keys.make(world.random(STREAM));
      const asked = await world.admin.ask([issuer.endpoint], "CreateInvite", {
        zone: "a",
        uses: 2,
        validForMs: 600_000,
        publicKey: base64Url(key.signer.publicKey),
      });
      const id = asked.reply?.id ?? "";
      const over = world.disturb();
      const joins = [0, 1, 2, 3, 4, 5].map(async (at) => {
        await stage.sleep(at * 40);
        return world.joinWith(id, key.signer, "a", issuer).catch(() => undefined);
      });
      await stage.sleep(250);
      issuer.cutPower();
      await stage.sleep(1_000);
      issuer.boot();
      await Promise.all(joins);
      await world.untilReady([issuer]);
      await stage.sleep(2_000);
      for (let more = 0; more < 3; more += 1) await world.joinWith(id, key.signer, "a", issuer).catch(() => undefined);
      await stage.heal();
      over();
      await stage.watch.healed();
    },
  },
  {
    hazard: "mutual-removal",
    what: "cut two and two, each side wants the others removed; two admins revoke each other",
    zones: ["a", "a", "a", "a"],
    story: async (stage) => {
      const { world } = stage;
      const [a, b, c, d] = world.hosts;
      if (a === undefined || b === undefined || c === undefined || d === undefined) return;
      const ann = await world.newUser("ann", "admin", a);
      const ben = await world.newUser("ben", "admin", a);
      await stage.sleep(1_000);
      const heal = stage.cut([a, b], [c, d]);
      await stage.sleep(10_000);
      stage.expectRefused(
        await world.admin.ask([a.endpoint], "RemoveHost", { host: c.peer, countsToMajor: 1, countsToMinor: 1, allCertificates: true }),
        "MAJORITY_NEEDED",
      );
      stage.expectRefused(
        await world.admin.ask([c.endpoint], "RemoveHost", { host: a.peer, countsToMajor: 1, countsToMinor: 1, allCertificates: true }),
        "MAJORITY_NEEDED",
      );
      stage.expectRefused(await ann.ask([a.endpoint], "RevokeKey", { key: ben.keyId, keepAll: true }), "FORBIDDEN");
      stage.expectRefused(await ben.ask([c.endpoint], "RevokeKey", { key: ann.keyId, keepAll: true }), "FORBIDDEN");
      heal();
      await stage.heal();
      await stage.watch.healed();
      stage.expect(a.life?.core.view.members().length === 4, "the mesh is whole");
      stage.expect(a.life?.core.view.keys().filter(({ state, role }) => state === "live" && role === "admin").length === 4, "the root and three admins remain");
    },
  },
  {
    hazard: "no-power",
    what: "a viewer tries everything that changes something",
    story: async (stage) => {
      const { world } = stage;
      const viewer = await world.newUser("val", "viewer");
      const id = await stage.place();
      await stage.until(() => stage.running(id).length === 1, "it runs");
      const at = [stage.host(1).endpoint];
      const other = world.keys.make(world.random(STREAM));
      const publicKey = base64Url(other.signer.publicKey);
      const tries = [
        viewer.ask(at, "Run", { spec: stage.spec() }),
        viewer.ask(at, "Stop", { containers: [id] }),
        viewer.ask(at, "Restart", { containers: [id] }),
        viewer.ask(at, "Remove", { containers: [id], force: true }),
        viewer.ask(at, "CreateKey", { publicKey, role: "admin", name: "mine" }),
        viewer.ask(at, "CreateInvite", { zone: "a", uses: 1, validForMs: 60_000, publicKey }),
        viewer.ask(at, "RemoveHost", { host: stage.host(2).peer, countsToMajor: 9, countsToMinor: 9 }),
        stage.user.ask(at, "CreateKey", { publicKey, role: "admin", name: "mine" }),
        stage.user.ask(at, "RevokeKey", { key: world.admin.keyId, keepAll: true }),
      ];
      for (const ask of await Promise.all(tries)) {
        if (ask.outcome === "done") world.violate("power", `${ask.call} by the ${ask.user.role} ${ask.user.name} was done`);
        else stage.expectRefused(ask, "FORBIDDEN");
      }
      await stage.watch.healed();
      stage.expect(stage.running(id).length === 1 && stage.starts(id) === 1, "nothing was changed");
    },
  },
];

/** As `cc host remove` does it: names the last version that counts. Its machine is switched off afterwards, if so wanted. */
async function removeHost(
  stage: Parameters<Scenario["story"]>[0],
  host: Parameters<Scenario["story"]>[0]["world"]["hosts"][number],
  at: typeof host,
  off = true,
): Promise<void> {
  const { world } = stage;
  const listed = await world.admin.ask([at.endpoint], "ListHosts", {});
  const found = listed.reply?.hosts.find(({ id }) => id === host.peer);
  const over = world.disturb();
  stage.expectDone(
    await world.admin.ask([at.endpoint], "RemoveHost", {
      host: host.peer,
      countsToMajor: found?.lastMajor ?? 0,
      countsToMinor: found?.lastMinor ?? 0,
      allCertificates: true,
    }),
  );
  if (off) {
    await stage.sleep(1_000);
    host.retired = true;
    host.cutPower();
  }
  over();
}
