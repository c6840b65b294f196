import { API, HomeScene, MESH, OWN, WITH_WEB } from "../e2e/home-scene.ts";
import { eventually, withLab } from "../e2e/lab.ts";

// Real NAT and the real daemon of home routers. A router that stays away, and peers killed, are in router.test.ts.
withLab("ports at the home router, by PCP and then by UPnP", { hosts: 2, home: 1 }, async (t, lab) => {
  const image = await lab.image();
  const scene = await HomeScene.of(lab);
  const { home, outside } = scene;

  await t.test("without being asked the router forwards nothing, and nobody reaches the host", async (t) => {
    t.same(await scene.mapped(), []);
    t.match(await scene.shown(), { outside: false, outsideNote: "" });
    t.match((await lab.cc(["host", "list"])).stdout, /^h2 +home +\S+ +\S+ +no /m);
    t.notOk(await scene.connects(API));
  });

  await t.test("pcp: the peer's own ports, announced to all", async (t) => {
    await lab.must("router", "restart", "--only", "pcp");
    await scene.configure();
    await scene.untilMapped("its own ports", OWN);
    await eventually("every peer knows", async () => (await scene.shown())?.outside === true, 60_000);
    t.match((await scene.shown())?.endpoints, [`https://${home}:${API}`, `https://${outside}:${API}`]);
    t.match((await lab.cc(["host", "list"])).stdout, /^h2 +home +\S+ +\S+ +yes /m);
    const ps = await lab.cc(["ps"], { env: { CC_ENDPOINT_URL: `https://${outside}:${API}` } });
    t.equal(ps.code, 0, `cc through the router: ${ps.stderr}`);
    t.ok(await scene.connects(MESH));
  });

  await t.test("pcp: a container's port, for as long as it has a process", async (t) => {
    await scene.run(image);
    await scene.untilMapped("all are mapped", WITH_WEB);
    await scene.untilReached("through the router");
    for (const host of [1, 2]) t.match(await scene.port(host), { hostPort: 8080, external: `${outside}:8080`, note: "" }, `status through h${host}`);
    t.match((await lab.cc(["status", "web"])).stdout, new RegExp(`^Forwarded: +${outside}:8080/tcp to 8080 of its host$`, "m"));
    await scene.killContainer();
    await scene.untilMapped("it was killed: closed", OWN);
    t.match(await scene.port(), { external: "", note: "not forwarded while it does not run" });
    t.equal((await lab.cc(["start", "web"])).code, 0);
    await scene.untilMapped("open again with its process", WITH_WEB);
  });

  await t.test("upnp: the router restarts without what it had, and with the other protocol alone", async (t) => {
    await lab.must("router", "restart", "--only", "upnp");
    await scene.untilMapped("all are back", WITH_WEB);
    await scene.untilReached("and reached");
    await eventually("and said", async () => (await scene.port())?.external === `${outside}:8080`, 60_000);
    await scene.killContainer();
    await scene.untilMapped("it was killed: closed", OWN);
    t.equal((await lab.cc(["start", "web"])).code, 0);
    await scene.untilMapped("open again", WITH_WEB);
  });

  await t.test("upnp: the host is killed", async (t) => {
    await lab.must("kill", "2");
    await scene.untilMapped("nothing is left when its leases are over", []);
    await lab.must("start", "2");
    await scene.untilMapped("it is back with its own", OWN);
    t.equal((await lab.cc(["rm", "--force", "web"], { host: 2 })).code, 0);
    await scene.untilMapped("and nothing else is asked for", OWN);
  });
});
