import { HomeScene, OWN, WITH_WEB } from "../e2e/home-scene.ts";
import { eventually, withLab } from "../e2e/lab.ts";

// Each protocol through everything that takes a mapping away, one lab after the other: home.test.ts is the short of it.
withLab("a home router through everything, by PCP and by UPnP", { hosts: 2, home: 1 }, async (t, lab) => {
  const image = await lab.image();
  const scene = await HomeScene.of(lab);
  await scene.configure();

  for (const only of ["pcp", "upnp"] as const) {
    await t.test(`${only}: the router restarts, and is away for long`, async (t) => {
      await lab.must("router", "restart", "--only", only);
      await scene.run(image);
      await scene.untilMapped("all are mapped", WITH_WEB);
      await lab.must("router", "restart", "--only", only);
      await scene.untilMapped("all are back", WITH_WEB);
      await scene.untilReached("and reached");
      await lab.must("router", "stop");
      await eventually("nobody can say what there is", async () => /cannot be reached|did not tell/.test((await scene.port())?.note ?? ""), 60_000);
      await lab.must("router", "start", "--only", only);
      await scene.untilMapped("all are back again", WITH_WEB);
      t.same(await scene.mapped(), WITH_WEB.toSorted(), "each once");
      await eventually("and said", async () => (await scene.port())?.external === `${scene.outside}:8080`, 60_000);
    });

    await t.test(`${only}: the container is killed, stopped, started`, async (t) => {
      await scene.killContainer();
      await scene.untilMapped("killed", OWN);
      t.equal((await lab.cc(["start", "web"])).code, 0);
      await scene.untilMapped("started", WITH_WEB);
      t.equal((await lab.cc(["stop", "--timeout", "1s", "web"])).code, 0);
      await scene.untilMapped("stopped", OWN);
      t.equal((await lab.cc(["start", "web"])).code, 0);
      await scene.untilMapped("started again", WITH_WEB);
    });

    await t.test(`${only}: the peer is killed, then the host`, async (t) => {
      process.kill(await lab.peerPid(2), "SIGKILL");
      await lab.must("start", "2");
      await scene.untilMapped("the next peer goes on with what was mapped", WITH_WEB);
      t.equal((await lab.cc(["rm", "--force", "web"], { host: 2 })).code, 0);
      await scene.untilMapped("also with removing", OWN);
      await lab.must("kill", "2");
      await scene.untilMapped("nothing is left when its leases are over", []);
      await lab.must("start", "2");
      await scene.untilMapped("it is back", OWN);
    });
  }
});
