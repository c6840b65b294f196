import { createInterface } from "node:readline";
import t, { type Test } from "tap";
import { eventually, GATEWAY, HomeNetwork, isMapped } from "./home-network.ts";

// Routers that miniupnpd cannot be made to be; see strange-router.ts. The host and the wires are real.

async function strange(t: Test, mode: string): Promise<{ readonly home: HomeNetwork; readonly entries: () => string }> {
  const home = await HomeNetwork.make();
  t.teardown(() => home.close());
  const router = home.start("router", [process.execPath, `${import.meta.dirname}/strange-router.ts`, mode, GATEWAY]);
  const lines: string[] = [];
  if (router.stdout === null) throw new Error("the router has no output");
  createInterface({ input: router.stdout }).on("line", (line) => lines.push(line));
  await eventually("the router", async () => lines.length > 0);
  return { home, entries: () => lines.at(-1) ?? "" };
}

t.test("one that knows no leases: mapped without end, removed by us, also after a kill", async (t) => {
  const { home, entries } = await strange(t, "permanent");
  const host = home.host({ via: ["upnp"], leaseSeconds: 4 });
  host.want({ port: 80, externalPort: 8_080 }, { port: 81, externalPort: 8_081 });
  t.match(await host.until("mapped", isMapped), [
    { via: "upnp", mappedPort: 8_080, untilMs: undefined },
    { mappedPort: 8_081, untilMs: undefined },
  ]);
  host.want({ port: 81, externalPort: 8_081 });
  await eventually("one is removed", async () => entries() === '["8081/TCP"]');
  await host.kill();
  const next = home.host({ via: ["upnp"], leaseSeconds: 4 });
  next.want();
  await eventually("the next process removes what the killed one had", async () => entries() === "[]");
  await next.stop();
});

t.test("one that maps a port to the same one only, and one that agrees to what it does not do", async (t) => {
  const { home } = await strange(t, "same");
  const host = home.host({ via: ["upnp"] });
  host.want({ port: 80, externalPort: 8_080 });
  t.match(await host.until("mapped", isMapped), [{ mappedPort: 80, note: "instead of 8080: this router maps a port to the same one only" }]);
  await host.stop();
  const other = await strange(t, "liar");
  const deceived = other.home.host({ via: ["upnp"] });
  deceived.want({ port: 80, externalPort: 8_080 });
  const [failed] = await deceived.until("it is noticed", ([status]) => status?.state === "failed");
  t.match(failed, { reason: "UPnP: the router agreed to map port 8080, but maps it to 10.232.7.99:80" });
  await deceived.stop();
});

t.test("one that answers rubbish: said, tried again, and nothing else comes of it", async (t) => {
  const { home } = await strange(t, "rubbish");
  const host = home.host({ via: ["pcp", "upnp"], pcpLimitMs: 2_000 });
  host.want({ port: 80, externalPort: 8_080 }, { port: 53, protocol: "udp" });
  for (let round = 0; round < 2; round += 1) {
    const failures = host.statuses.length;
    const status = await host.until("it failed again", (now) => host.statuses.length > failures + 2 && now.every(({ state }) => state === "failed"));
    for (const one of status) t.match(one, { reason: /PCP: .*UPnP: |UPnP: .*PCP: / });
  }
  t.notOk(
    host.logs.some((line) => line.startsWith("error")),
    host.logs.join("\n"),
  );
  host.want();
  await host.until("nothing is wanted", (status) => status.length === 0);
  await host.stop();
});
