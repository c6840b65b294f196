import { eventually, withLab } from "../e2e/lab.ts";

type Container = { readonly name: string; readonly phase: string; readonly hostName: string; readonly address: string };
type Vpc = { readonly used: number; readonly addresses: number; readonly blocks: readonly { readonly ownerName: string; readonly free: number }[] };

const A_SIDE = 100;
const AT_ONCE = 4;
const ALL = 253;
const TRIES = 8;
const SMALL = ["--memory", "16m", "--disk", "16m", "--vpc", "shop"];
const SLEEPING = ["--", "sleep", "100000"];

/** 200 containers and the rest of a /24: some minutes on two cores. */
withLab("a VPC's addresses on both sides of a cut", { hosts: 3, zones: "a,a,a", memory: "4g", disk: "8g" }, async (t, lab) => {
  const image = await lab.image();
  t.equal((await lab.cc(["vpc", "create", "--cidr", "10.0.0.0/24", "--name", "shop"])).code, 0);
  await eventually("all hosts know it", async () =>
    (await Promise.all([1, 2, 3].map((host) => lab.cc(["vpc", "inspect", "shop"], { host })))).every(({ code }) => code === 0),
  );

  const run = (name: string, host: number) =>
    lab.cc(["run", "--detach", "--name", name, "--host", `h${host}`, "--image", image, ...SMALL, ...SLEEPING], { host });
  const free = async (owner: (name: string) => boolean): Promise<number> =>
    ((await lab.json<Vpc[]>(["vpc", "inspect", "shop"]))[0]?.blocks ?? []).reduce((sum, block) => sum + (owner(block.ownerName) ? block.free : 0), 0);
  let rounds = 0;
  /** Asks until `count` run, or one is refused. */
  const fill = async (host: number, count: number): Promise<{ readonly names: readonly string[]; readonly refusals: readonly string[] }> => {
    const names: string[] = [];
    const refusals: string[] = [];
    let next = 0;
    const round = rounds++;
    const worker = async (): Promise<void> => {
      while (next < count && refusals.length === 0) {
        const name = `h${host}-${round}-${next++}`;
        const { code, stderr } = await run(name, host);
        if (code === 0) names.push(name);
        else refusals.push(stderr);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    return { names, refusals };
  };
  const addresses = async (host: number): Promise<ReadonlyMap<string, string>> =>
    new Map((await lab.json<Container[]>(["ps", "--all"], { host })).flatMap(({ name, address }) => (address === "" ? [] : [[name, address]])));

  await t.test("both give a hundred; what cannot be given names its owner", async (t) => {
    const own = await free((name) => name === "h1");
    t.ok(own > 30, `h1 has a share of its own: ${own}`);
    for (const other of ["2", "3"]) await lab.must("cut", "1", other);
    await eventually(
      "both sides see the cut",
      async () =>
        (await lab.json<{ readonly name: string; readonly state: string }[]>(["host", "list"], { host: 1 })).some(
          ({ name, state }) => name === "h2" && state !== "alive",
        ),
      30_000,
    );
    const [one, two] = await Promise.all([fill(1, A_SIDE), fill(2, A_SIDE)]);
    t.equal(two.names.length, A_SIDE, `h2 has what h3 gives it: ${two.refusals[0]}`);
    t.equal(one.names.length, own, "h1 gives all of its own");
    t.match(one.refusals[0], /NO_ROOM.*no free address of VPC shop left; there are \d+ with h[23]/s, "whose the others are");
    const before = new Map([...(await addresses(1)), ...(await addresses(2))]);
    await lab.must("heal");
    await eventually("each sees all", async () => (await addresses(1)).size === one.names.length + two.names.length, 30_000);
    for (const host of [1, 2, 3]) t.same([...(await addresses(host))].sort(), [...before].sort(), `nobody's address changed, says h${host}`);
    t.equal(new Set(before.values()).size, before.size, "none is there twice");
    t.equal((await lab.json<Container[]>(["ps"])).filter(({ phase }) => phase === "running").length, before.size, "and all run");
  });

  await t.test("a removed host's blocks are usable again, to the last address", async (t) => {
    await lab.must("kill", "3");
    t.equal((await lab.cc(["host", "remove", "h3", "--force"])).code, 0);
    const used = (await addresses(1)).size;
    await eventually("all that is free is somebody's who is there", async () => (await free((name) => name !== "h3")) === ALL - used, 60_000);
    // Each of the two is refused now and then what the other is about to use itself.
    let [count, refusals] = [used, [""]];
    for (let tries = 0; tries < TRIES && count < ALL; tries += 1) {
      const filled = await Promise.all([1, 2].map((host) => fill(host, ALL - count)));
      count += filled.flatMap(({ names }) => names).length;
      refusals = filled.flatMap(({ refusals: some }) => some);
    }
    t.equal(count, ALL, `all ${ALL} are given out: ${refusals.join("; ")}`);
    t.match((await run("one-more", 1)).stderr, /NO_ROOM.*all addresses of VPC shop are taken/s);
    const all = await addresses(2);
    t.equal(new Set(all.values()).size, ALL, "each once");
  });
});
