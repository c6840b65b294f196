import t from "tap";
import { formatIp } from "../../../src/base/index.ts";
import { makeVpc, ping, Scene } from "./harness.ts";

let scene: Scene;
t.before(async () => {
  scene = await Scene.open(["one", "two", "three"]);
});
t.teardown(() => scene.close());

t.test("every pair of containers, both ways, on three hosts", async (t) => {
  const vpc = makeVpc();
  const containers = [];
  for (const [at, host] of scene.hosts.entries()) {
    containers.push(await scene.start(host, vpc, `10.0.${at}.10`), await scene.start(host, vpc, `10.0.${at}.11`));
  }
  await scene.followAll();
  for (const from of containers) {
    for (const to of containers) t.ok(await ping(from, to.address), `${from.host.name} ${formatIp(from.address)} to ${to.host.name} ${formatIp(to.address)}`);
    t.ok(await ping(from, vpc.gateway), "the gateway");
  }
  for (const host of scene.hosts) {
    const outcome = await host.overlay.converge(() => scene.network(host));
    t.same(outcome, { changed: [], missing: [], failed: [] }, "nothing is left to do");
  }
});
