import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RouterMapping } from "../../nodes/lab/router-scripts.ts";
import { eventually, type TestLab, withLab } from "./lab.ts";

type Port = { readonly hostPort: number; readonly external: string; readonly note: string };
type Container = { readonly id: string; readonly phase: string; readonly ports: readonly Port[] };
type Host = { readonly name: string; readonly outside: boolean; readonly outsideNote: string; readonly endpoints: readonly string[] };

const LEASE_S = 12;
/** A lease, and miniupnpd's pause between two looks; much more where the machine is at work for others. */
const WITHIN_LEASE_MS = 30_000;
/** For everything else to become as it should be. */
const SOON_MS = 60_000;
const WEB = ["sh", "-c", "mkdir -p /tmp/w; hostname >/tmp/w/index.html; exec busybox httpd -f -p 80 -h /tmp/w"];
const [MESH, API] = [4_001, 7_443];

withLab("ports at the home router, by PCP and by UPnP", { hosts: 2, home: 1 }, async (t, lab) => {
  const image = await lab.image();
  const { router, hosts, folder } = await lab.status();
  const outside = router?.address ?? "";
  const home = hosts[1]?.address ?? "";
  const mapped = async (): Promise<string[]> => {
    const all: readonly RouterMapping[] = JSON.parse(await lab.must("router", "mappings", "--json"));
    return all.flatMap(({ externalPort, protocol, address, port }) => (address === home ? [`${externalPort}/${protocol} -> ${port}`] : [])).toSorted();
  };
  const OWN = [`${MESH}/tcp -> ${MESH}`, `${API}/tcp -> ${API}`];
  const BOTH = [...OWN, "8080/tcp -> 8080"].toSorted();
  const untilMapped = (what: string, wanted: readonly string[], limitMs = SOON_MS) =>
    eventually(what, async () => (await mapped()).join() === [...wanted].sort().join(), limitMs);
  const web = async (host = 1): Promise<Container | undefined> => (await lab.json<Container[]>(["status", "web"], { host }))[0];
  const port = async (host = 1): Promise<Port | undefined> => (await web(host))?.ports[0];
  const hostTwo = async (host = 1): Promise<Host | undefined> => (await lab.json<Host[]>(["host", "list"], { host })).find(({ name }) => name === "h2");
  /** From h1, for which the home is behind its router. */
  const reached = async (): Promise<boolean> => {
    const { stdout } = await lab.on(1, "timeout", "4", "busybox", "wget", "-qO-", `http://${outside}:8080/`);
    return stdout === "web\n";
  };
  const untilReached = (what: string) => eventually(what, reached, SOON_MS);

  await t.test("without being asked the router forwards nothing, and nobody reaches the host", async (t) => {
    t.same(await mapped(), []);
    t.match(await hostTwo(), { outside: false, outsideNote: "" });
    t.match((await lab.cc(["host", "list"])).stdout, /^h2 +home +\S+ +\S+ +no /m);
    await configure(lab, folder, { mesh: true, api: true, leaseSeconds: LEASE_S });
  });

  for (const only of ["pcp", "upnp"] as const) {
    await t.test(`${only}: the peer's own ports`, async (t) => {
      await lab.must("router", "restart", "--only", only);
      await untilMapped("its own ports", OWN);
      await eventually("every peer knows", async () => (await hostTwo())?.outside === true, SOON_MS);
      t.match((await hostTwo())?.endpoints, [`https://${home}:${API}`, `https://${outside}:${API}`]);
      t.match((await lab.cc(["host", "list"])).stdout, /^h2 +home +\S+ +\S+ +yes /m);
      const ps = await lab.cc(["ps"], { env: { CC_ENDPOINT_URL: `https://${outside}:${API}` } });
      t.equal(ps.code, 0, `cc through the router: ${ps.stderr}`);
      t.equal((await lab.on(1, "busybox", "nc", "-w", "3", "-z", outside, String(MESH))).code, 0, "the mesh port");
    });

    await t.test(`${only}: a container's port`, async (t) => {
      const words = ["--memory", "16m", "--disk", "32m", "--publish", "8080:80", "--forward"];
      const ran = await lab.cc(["run", "--detach", "--name", "web", "--host", "h2", "--image", image, ...words, "--", ...WEB]);
      t.equal(ran.code, 0, ran.stderr);
      await untilMapped("all are mapped", BOTH);
      await untilReached("through the router");
      for (const host of [1, 2]) t.match(await port(host), { hostPort: 8080, external: `${outside}:8080`, note: "" }, `status through h${host}`);
      t.match((await lab.cc(["status", "web"])).stdout, new RegExp(`^Forwarded: +${outside}:8080/tcp to 8080 of its host$`, "m"));
    });

    await t.test(`${only}: the router restarts, and for a while there is none`, async (t) => {
      await lab.must("router", "restart", "--only", only);
      await untilMapped("all are back", BOTH);
      await untilReached("and reached");
      await lab.must("router", "stop");
      await eventually("nobody can say what there is", async () => /cannot be reached|did not tell/.test((await port())?.note ?? ""), SOON_MS);
      await lab.must("router", "start", "--only", only);
      await untilMapped("all are back again", BOTH);
      t.same(await mapped(), BOTH, "each once");
      await eventually("and said", async () => (await port())?.external === `${outside}:8080`, SOON_MS);
    });

    await t.test(`${only}: the container is killed, started again, stopped, removed`, async (t) => {
      const { id = "" } = (await web()) ?? {};
      const pid = (await lab.on(2, "cat", `/run/cc/containers/${id}/ctr.pid`)).stdout.trim();
      t.equal((await lab.on(2, "kill", "-9", pid)).code, 0);
      await untilMapped("its port is closed", OWN);
      t.match(await port(), { external: "", note: "not forwarded while it does not run" });
      t.equal((await lab.cc(["start", "web"])).code, 0);
      await untilMapped("open again with its process", BOTH);
      t.equal((await lab.cc(["stop", "--timeout", "1s", "web"])).code, 0);
      await untilMapped("closed when it is stopped", OWN);
      t.equal((await lab.cc(["start", "web"])).code, 0);
      await untilMapped("and open", BOTH);
    });

    await t.test(`${only}: the peer is killed, then the host`, async (t) => {
      process.kill(await lab.peerPid(2), "SIGKILL");
      await lab.must("start", "2");
      await untilMapped("the next peer goes on with what was mapped", BOTH);
      t.equal((await lab.cc(["rm", "--force", "web"], { host: 2 })).code, 0);
      await untilMapped("also with removing", OWN);
      await lab.must("kill", "2");
      await untilMapped("of a host that is gone nothing is left when its leases are over", [], WITHIN_LEASE_MS);
      await lab.must("start", "2");
      await untilMapped("it is back", OWN);
    });
  }
});

/** Another configuration for the peer behind the router. */
async function configure(lab: TestLab, folder: string, forward: object): Promise<void> {
  const file = join(folder, "hosts/h2/peer.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), forward }, null, 2));
  await lab.must("restart", "2");
}
