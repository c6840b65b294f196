import t, { type Test } from "tap";
import { GATEWAY, HomeNetwork, isFailed, isMapped } from "./home-network.ts";

// Whom a host asks, and by what: a real router that speaks both, one, an old form of one, or nothing.

async function network(t: Test): Promise<HomeNetwork> {
  const home = await HomeNetwork.make();
  t.teardown(() => home.close());
  return home;
}

t.test("PCP before UPnP; UPnP where PCP is not spoken, also that of the first version", async (t) => {
  const home = await network(t);
  await home.routerOn();
  const host = home.host({ via: ["pcp", "upnp"] });
  host.want({ port: 80 });
  t.match(await host.until("by PCP", isMapped), [{ via: "pcp" }]);
  await home.routerOn({ only: "upnp", version1: true });
  t.match(await host.until("by UPnP", (status) => isMapped(status) && status[0]?.state === "mapped" && status[0].via === "upnp"), [{ mappedPort: 80 }]);
  t.same(await home.mapped(), ["80/tcp -> 80"]);
  host.want({ port: 80 }, { port: 81, externalPort: 80 });
  const [, second] = await host.until("another port, of our own choice", (status) => status.length === 2 && isMapped(status));
  t.match(second, { note: /^instead of 80: another mapping has port 80 of the router \(to 10\.232\.7\.13:80\)/ });
  t.ok(second?.state === "mapped" && second.mappedPort >= 20_000, "the first version offers none");
  await host.stop();
});

t.test("nobody to ask: said in bounded time, and put right when there is somebody", async (t) => {
  const home = await network(t);
  const host = home.host({ via: ["pcp", "upnp"], pcpLimitMs: 2_000 });
  const startedMs = performance.now();
  host.want({ port: 80 });
  const [failed] = await host.until("a gateway without a daemon", isFailed);
  t.ok(performance.now() - startedMs < 30_000);
  t.match(failed, { reason: new RegExp(`PCP: nothing at ${GATEWAY} speaks it .*; UPnP: ${GATEWAY} does not show itself`) });

  await home.in("router", "ip", "link", "set", "lan0", "down");
  await host.until(
    "a gateway that is switched off",
    (status) => status[0]?.state === "failed" && /PCP: 10.232.7.1 does not answer|PCP: nothing .*EHOSTUNREACH/.test(status[0].reason),
  );
  await home.in("router", "ip", "link", "set", "lan0", "up");

  await home.in("home", "ip", "route", "del", "default");
  await host.until("no gateway", (status) => status[0]?.state === "failed" && /no default gateway/.test(status[0].reason));
  await home.routerOn();
  await home.in("home", "ip", "route", "add", "default", "via", GATEWAY);
  await host.until("it is there", isMapped);
  t.same(await home.mapped(), ["80/tcp -> 80"]);
  await host.stop();
  t.same(await home.mapped(), ["80/tcp -> 80"], "a peer that stops leaves what its containers use");
});
