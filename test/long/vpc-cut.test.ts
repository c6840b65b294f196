import { eventually, withLab } from "../e2e/lab.ts";

type Container = { readonly name: string; readonly phase: string; readonly hostName: string; readonly address: string };
type Vpc = { readonly used: number; readonly addresses: number; readonly blocks: readonly { readonly ownerName: string; readonly free: number }[] };

const A_SIDE = 100;
const AT_ONCE = 4;
const ALL = 253;
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
  /** Asks until `count` run, or one is refused. */
  const fill = async (host: number, count: number): Promise<{ readonly names: readonly string[]; readonly refusals: readonly string[] }> => {
    const names: string[] = [];
    const refusals: string[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < count && refusals.length === 0) {
        const name = `h${host}-${next++}-${count}`;
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
    t.ok(one.names.length >= Math.floor(ALL / 3) - 1, `h1 gives all of its own: ${one.names.length}`);
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
    const free = async (): Promise<number> =>
      ((await lab.json<Vpc[]>(["vpc", "inspect", "shop"]))[0]?.blocks ?? []).reduce((sum, block) => sum + (block.ownerName === "h3" ? 0 : block.free), 0);
    const used = (await addresses(1)).size;
    await eventually("all that is free is somebody's who is there", async () => (await free()) === ALL - used, 60_000);
    const [one, two] = await Promise.all([fill(1, ALL), fill(2, ALL)]);
    t.equal(used + one.names.length + two.names.length, ALL, `all ${ALL} are given out: ${one.refusals[0]} ${two.refusals[0]}`);
    const all = await addresses(2);
    t.equal(new Set(all.values()).size, ALL, "each once");
  });
});
