import { eventually, type Outcome, withLab } from "../e2e/lab.ts";

type Container = { readonly id: string; readonly phase: string; readonly host: string; readonly memoryBytes: number };
type Amount = { readonly memoryBytes?: number; readonly diskBytes?: number };
type Host = { readonly id: string; readonly name: string; readonly capacity: Amount; readonly used: Amount };

const HOSTS = [1, 2, 3];
const CONTAINERS = 200;
const AT_ONCE = 20;
const MEMORY_MIB = 24;
/** Together the containers ask twice what the three hosts have. */
const HOST_MEMORY_MIB = (CONTAINERS * MEMORY_MIB) / 2 / HOSTS.length;

withLab("200 containers that ask for twice the mesh's memory", { hosts: 3, zones: "a,a,b", memory: `${HOST_MEMORY_MIB}m`, disk: "20g" }, async (t, lab) => {
  const image = await lab.image();
  const overCommitted: string[] = [];
  const look = async (host: number): Promise<void> => {
    for (const one of await lab.json<Host[]>(["host", "list"], { host })) {
      if ((one.used.memoryBytes ?? 0) > (one.capacity.memoryBytes ?? 0)) overCommitted.push(`${one.name}: ${one.used.memoryBytes}`);
    }
  };

  // Each asks its own peer first, and the next one where it is too busy to take a connection within its 3 s.
  const endpoints = await Promise.all(HOSTS.map(async (host) => (await lab.environment(host))["CC_ENDPOINT_URL"]));
  const env = (host: number): Record<string, string> => ({ CC_ENDPOINT_URL: [...endpoints.slice(host - 1), ...endpoints.slice(0, host - 1)].join() });
  const outcomes: Outcome[] = [];
  await t.test("started 20 at once from three peers", async (t) => {
    const numbers = Array.from({ length: CONTAINERS }, (_, number) => number);
    const worker = async (): Promise<void> => {
      for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
        const host = HOSTS[number % HOSTS.length] ?? 1;
        outcomes.push(
          await lab.cc(["run", "--detach", "--memory", `${MEMORY_MIB}m`, "--cpu", "2", "--disk", "16m", "--image", image, "--", "sleep", "100000"], {
            host,
            env: env(host),
            timeoutMs: 120_000,
          }),
        );
        if (number % 25 === 0) await look(host);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const placed = outcomes.filter(({ code }) => code === 0);
    const others = outcomes.filter(({ code, stderr }) => code !== 0 && !HOSTS.every((host) => new RegExp(`NO_ROOM.*\\bh${host}: `, "s").test(stderr)));
    t.same(
      others.map(({ stderr }) => stderr),
      [],
      "who was refused was told why, host by host",
    );
    t.equal(outcomes.length, CONTAINERS);
    t.ok(placed.length > CONTAINERS / 3 && placed.length <= CONTAINERS / 2, `${placed.length} fit`);
    t.same(overCommitted, [], "no host promised more than it has");
  });

  const ids = outcomes.filter(({ code }) => code === 0).map(({ stdout }) => stdout.trim());
  await t.test("the same from every peer, all running, none over its host", async (t) => {
    for (const host of HOSTS) {
      const list = await eventually(
        `all run, as host ${host} sees it`,
        async () => {
          const seen = await lab.json<Container[]>(["ps"], { host });
          return seen.every(({ phase }) => phase === "running") && seen.length === ids.length && seen;
        },
        120_000,
      );
      t.same(list.map(({ id }) => id).sort(), [...ids].sort());
      const perHost = Map.groupBy(list, (one) => one.host);
      for (const [name, held] of perHost) t.ok(held.length * MEMORY_MIB <= HOST_MEMORY_MIB, `${held.length} on ${name}`);
      await look(host);
    }
    t.same(overCommitted, []);
  });

  await t.test("all removed, nothing left", async (t) => {
    const removed = await lab.cc(["rm", "--force", ...ids], { host: 2, timeoutMs: 120_000 });
    t.equal(removed.code, 0, removed.stderr);
    for (const host of HOSTS) {
      await eventually(`host ${host} lists none`, async () => (await lab.json<Container[]>(["ps", "--all"], { host })).length === 0);
      await eventually(
        `nothing lies on host ${host}`,
        async () => {
          const { stdout } = await lab.on(host, "sh", "-c", "ls /run/cc/containers | grep -c ^c; cat /proc/self/mounts | grep -c /c[a-z2-7]*/rootfs");
          return stdout.trim() === "0\n0";
        },
        120_000,
      );
      t.same(
        (await lab.json<Host[]>(["host", "list"], { host })).map(({ used }) => used.memoryBytes ?? 0),
        [0, 0, 0],
        "no room is kept for nobody",
      );
    }
  });
});
