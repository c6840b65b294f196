import { setTimeout as pause } from "node:timers/promises";
import t, { type Test } from "tap";
import { eventually, HomeNetwork, isMapped, OUTSIDE } from "./home-network.ts";

/** What a router does for a host that asks by one protocol: miniupnpd in a network namespace, asked from another, used from a third. */
export function describeMappings(via: "pcp" | "upnp"): void {
  t.test(`${via}: mapped, reached, renewed at half the lease, removed`, async (t) => {
    const home = await network(t);
    await home.routerOn({ only: via });
    home.start("home", ["socat", "TCP-LISTEN:80,fork,reuseaddr", "SYSTEM:echo hello"]);
    const host = home.host({ via: [via], leaseSeconds: 12 });
    host.want({ port: 80, externalPort: 8_080 }, { port: 53, externalPort: 5_353, protocol: "udp" });
    const [tcp, udp] = await host.until("both are mapped", isMapped);
    t.match(tcp, { via, externalAddress: OUTSIDE, mappedPort: 8_080, note: undefined });
    t.match(udp, { via, mappedPort: 5_353 });
    t.same(await home.mapped(), ["5353/udp -> 53", "8080/tcp -> 80"]);
    t.equal(await home.in("world", "socat", "-T", "5", "-", `TCP:${OUTSIDE}:8080`), "hello\n", "from outside");

    const grants = () => [...new Set(host.statuses.map(({ said }) => until(said.status[0])))].filter((untilMs) => untilMs !== undefined);
    const first = grants()[0] ?? 0;
    await eventually("more than a lease has passed", async () => (grants().at(-1) ?? 0) - first > 12_000);
    t.same(await home.mapped(), ["5353/udp -> 53", "8080/tcp -> 80"], "there for longer than its lease");
    const second = grants().find((untilMs) => untilMs - first > 1_000) ?? 0;
    t.ok(second - first >= 5_900, `renewed when half of it was over (${second - first} ms)`);

    host.want({ port: 53, externalPort: 5_353, protocol: "udp" });
    await eventually("one is removed", async () => (await home.mapped()).join() === "5353/udp -> 53");
    host.want();
    await eventually("all are removed", async () => (await home.mapped()).length === 0);
    await host.stop();
  });

  t.test(`${via}: the router restarts, the host is killed, another has the port`, async (t) => {
    const home = await network(t);
    await home.routerOn({ only: via });
    const host = home.host({ via: [via] });
    host.want({ port: 80, externalPort: 8_080 }, { port: 81, externalPort: 8_080 });
    const [first, second] = await host.until("both are mapped", isMapped);
    const other = second?.state === "mapped" ? second.mappedPort : 0;
    t.match(first, { mappedPort: 8_080 });
    t.not(other, 8_080);
    t.match(second, { note: /^instead of 8080: another mapping has port 8080 of the router/ });
    if (via === "upnp") t.match(second, { note: /\(to 10\.232\.7\.13:80\)/ }, "UPnP shows whose it is");
    const both = ["8080/tcp -> 80", `${other}/tcp -> 81`].toSorted();
    t.same(await home.mapped(), both);

    // PCP's epoch is in seconds, and two of them are within its tolerance: a router that ran for less cannot be told from one that went on.
    await pause(6_000);
    await home.routerOn({ only: via });
    t.ok((await home.mapped()).length < both.length, "a router that restarts has forgotten all; one may be back already");
    await eventually("both are back", async () => (await home.mapped()).join() === both.join());
    t.match((await host.until("and said so", isMapped))[1], { mappedPort: other }, "under the port that people have noted");

    await host.kill();
    const next = home.host({ via: [via] });
    next.want({ port: 81, externalPort: 8_080 });
    await eventually("the next process removes what is wanted no more", async () => (await home.mapped()).join() === `${other}/tcp -> 81`);
    t.match((await next.until("and keeps what is", isMapped))[0], { mappedPort: other });
    await next.kill();
  });

  t.test(`${via}: of a host that is killed and does not return the mappings end with their lease`, async (t) => {
    const home = await network(t);
    await home.routerOn({ only: via });
    const host = home.host({ via: [via], leaseSeconds: 6 });
    host.want({ port: 80, externalPort: 8_080 });
    await host.until("it is mapped", isMapped);
    await host.kill();
    t.same(await home.mapped(), ["8080/tcp -> 80"]);
    const startedMs = performance.now();
    await eventually("it is gone", async () => (await home.mapped()).length === 0);
    t.ok(performance.now() - startedMs < 20_000, "within the lease, and miniupnpd's pause between two looks");
  });
}

async function network(t: Test): Promise<HomeNetwork> {
  const home = await HomeNetwork.make();
  t.teardown(() => home.close());
  return home;
}

/** When it ends, as it was said. */
function until(status: { readonly state: string; readonly untilMs?: number | undefined } | undefined): number | undefined {
  return status?.state === "mapped" && status.untilMs !== undefined ? Math.round(status.untilMs / 500) * 500 : undefined;
}
