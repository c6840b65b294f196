import { eventually, withLab } from "./lab.ts";

type Vpc = {
  readonly id: string;
  readonly name: string;
  readonly cidr: string;
  readonly zone: string;
  readonly state: string;
  readonly default: boolean;
  readonly used: number;
  readonly addresses: number;
  readonly containers: number;
  readonly members: readonly { readonly name: string; readonly address: string; readonly hostName: string; readonly names: readonly string[] }[];
  readonly blocks: readonly { readonly block: string; readonly ownerName: string; readonly free: number }[];
};
type Container = { readonly id: string; readonly phase: string; readonly hostName: string; readonly vpcName: string; readonly address: string };
const HOSTS = [1, 2, 3];
const FOREVER = ["--", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"];
/** A clear answer has to come within this time. */
const ANSWER_MS = 5_000;

withLab("VPCs through each of three peers", { hosts: 3, zones: "a,a,a" }, async (t, lab) => {
  const image = await lab.image();
  const vpcs = (host = 1): Promise<Vpc[]> => lab.json<Vpc[]>(["vpc", "list"], { host });
  const vpc = async (name: string, host = 1): Promise<Vpc | undefined> => (await vpcs(host)).find((one) => one.name === name);
  const status = async (name: string, host = 1): Promise<Container | undefined> => (await lab.json<Container[]>(["status", name], { host }))[0];
  const detached = (name: string, words: readonly string[], host = 1) =>
    lab.cc(["run", "--detach", "--name", name, "--image", image, "--memory", "16m", "--disk", "32m", ...words, ...FOREVER], { host });

  await t.test("the zone's default VPC is there without anybody's asking", async (t) => {
    for (const host of HOSTS) t.match(await vpcs(host), [{ name: "default", cidr: "10.210.0.0/16", zone: "a", state: "ready", default: true, containers: 0 }]);
    t.equal((await detached("plain", [])).code, 0);
    await eventually("it runs", async () => (await status("plain"))?.phase === "running");
    t.match(await status("plain", 2), { vpcName: "default", address: /^10\.210\.\d+\.\d+$/ });
    const where = ["--host", "h2"];
    for (const name of ["one", "two"]) {
      t.equal((await lab.cc(["run", "--rm", "--image", image, ...where, "true"])).code, 0, name);
      // The next container on this host finds the VPC there, for a while.
      t.match((await lab.on(2, "ls", "/run/cc/vpc")).stdout, /^n[a-z2-7]{20}\n$/);
    }
    t.equal((await lab.cc(["rm", "--force", "plain"])).code, 0);
  });

  for (const host of HOSTS) {
    await t.test(`through host ${host}`, async (t) => {
      const name = `shop-${host}`;
      const made = await lab.cc(["vpc", "create", "--cidr", "10.7.0.0/24", "--name", name], { host });
      t.match(made, { code: 0, stdout: /^n[a-z2-7]{20}\n$/ }, "create prints the id alone");
      const id = made.stdout.trim();
      t.match(await vpc(name, host), { id, cidr: "10.7.0.0/24", zone: "a", state: "ready", default: false, addresses: 253, used: 0 });
      const again = await lab.cc(["vpc", "create", "--cidr", "10.7.0.0/24", "--name", name], { host: (host % 3) + 1 });
      t.match(again, { code: 1, stderr: /^Error \[NAME_TAKEN\]: / });

      const ran = await detached(`user-${host}`, ["--vpc", name], host);
      t.equal(ran.code, 0, ran.stderr);
      await eventually("it runs", async () => (await status(`user-${host}`, host))?.phase === "running");
      const { address } = (await status(`user-${host}`, (host % 3) + 1)) as Container;
      const inspected = (await lab.json<Vpc[]>(["vpc", "inspect", name], { host }))[0];
      t.match(inspected, { id, used: 1, containers: 1, members: [{ name: `user-${host}`, address, names: [`user-${host}.${name}.cc.internal`] }] });
      t.equal(
        inspected?.blocks.reduce((sum, { free }) => sum + free, 0),
        252,
        "every block has an owner, and what is free is known",
      );
      const busy = await lab.cc(["vpc", "delete", name], { host: (host % 3) + 1 });
      t.match(busy, { code: 1, stdout: "", stderr: new RegExp(`^Error \\[IN_USE\\]: .*user-${host}`) });
      t.equal((await lab.cc(["restart", `user-${host}`], { host })).code, 0);
      await eventually("it runs again", async () => (await status(`user-${host}`))?.phase === "running");
      t.equal((await status(`user-${host}`))?.address, address, "with the address that it had");
      t.equal((await lab.cc(["stop", `user-${host}`], { host })).code, 0);
      t.match(
        await lab.cc(["vpc", "delete", name, "never-was"], { host: (host % 3) + 1 }),
        { code: 0, stdout: `${name}\nnever-was\n`, stderr: "" },
        "an ended container is no user",
      );
      t.match(await lab.cc(["vpc", "delete", id], { host }), { code: 0 }, "what is gone succeeds");
      t.equal(await vpc(name, host), undefined);
      await eventually("no host has anything of it", async () => {
        const held = await Promise.all(HOSTS.map((one) => lab.on(one, "ls", "/run/cc/vpc")));
        return !held.some(({ stdout }) => stdout.includes(id));
      });
      t.match(await lab.cc(["start", `user-${host}`], { host }), { code: 1, stderr: /was deleted/ }, "and does not start in what is gone");
      t.match(await lab.cc(["run", "--image", image, "--vpc", id, "true"], { host }), { code: 125, stderr: /^Error \[NOT_FOUND\]: /m });
      t.equal((await lab.cc(["rm", `user-${host}`], { host })).code, 0);
    });
  }

  await t.test("refusals: each within five seconds, and nothing is left of it", async (t) => {
    const before = await vpcs();
    const own = /(\d+\.\d+\.\d+)\.\d+/.exec((await lab.status()).hosts[0]?.address ?? "")?.[1] ?? "";
    const create = (cidr: string): readonly string[] => ["vpc", "create", "--cidr", cidr, "--name", "n"];
    const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
      [create("10.7.0.0"), 2, /no CIDR/],
      [create("10.7.0.1/24"), 2, /10\.7\.0\.0\/24/],
      [create("10.7.0.0/30"), 1, /^Error \[BAD_SIZE\]: .*\/8 to a \/29/],
      [create("0.0.0.0/0"), 1, /^Error \[BAD_SIZE\]: /],
      [create("fd00::/64"), 1, /^Error \[BAD_REQUEST\]: .*IPv6[^\n]*\n$/],
      [create("127.0.0.0/16"), 1, /loopback/],
      [create("169.254.0.0/16"), 1, /link-local/],
      [create("224.0.0.0/8"), 1, /multicast/],
      [create("100.127.240.0/24"), 1, /the way from VPCs to their host/],
      [create(`${own}.0/24`), 1, /a network of host h\d/],
      [["vpc", "create", "--cidr", "10.7.0.0/24", "--name", "Not A Name"], 2, /name/],
      [["vpc", "create", "--cidr", "10.7.0.0/24"], 2, /--name/],
      [["vpc", "create", "--cidr", "10.7.0.0/24", "--name", "n", "--zone", "z"], 1, /zone z has no hosts/],
      [["vpc", "delete"], 2, /vpcs/i],
      [["vpc", "inspect", "naaaaaaaaaaaaaaaaaaaa"], 1, /^Error \[NOT_FOUND\]: /],
      [["run", "--image", image, "--vpc", "nowhere", "true"], 125, /^Error \[NOT_FOUND\]: no VPC .*nowhere/],
    ];
    for (const [words, code, stderr] of cases) {
      const beganMs = Date.now();
      t.match(await lab.cc(words, { host: 2 }), { code, stderr }, words.join(" "));
      t.ok(Date.now() - beganMs < ANSWER_MS, `${words.join(" ")}: answered in time`);
    }
    t.same(await vpcs(), before);
  });

  await t.test("a /29 is filled to its last address over three hosts, and says so then", async (t) => {
    t.equal((await lab.cc(["vpc", "create", "--cidr", "10.8.0.0/29", "--name", "tiny"])).code, 0);
    const addresses: string[] = [];
    for (const at of [1, 2, 3, 4, 5]) {
      const ran = await detached(`tiny-${at}`, ["--vpc", "tiny", "--host", `h${(at % 3) + 1}`], (at % 3) + 1);
      t.equal(ran.code, 0, ran.stderr);
      addresses.push((await status(`tiny-${at}`, (at % 3) + 1))?.address ?? "");
    }
    t.same(addresses.toSorted(), ["10.8.0.2", "10.8.0.3", "10.8.0.4", "10.8.0.5", "10.8.0.6"]);
    t.match(await detached("tiny-6", ["--vpc", "tiny"]), { code: 125, stderr: /^Error \[NO_ROOM\]: .*all addresses of VPC tiny are taken/m });
    t.equal((await lab.cc(["rm", "--force", "tiny-1"])).code, 0);
    await eventually("its address is given again", async () => (await detached("tiny-6", ["--vpc", "tiny"])).code === 0);
    for (const at of [2, 3, 4, 5, 6]) t.equal((await lab.cc(["rm", "--force", `tiny-${at}`])).code, 0);
    t.equal((await lab.cc(["vpc", "delete", "tiny"])).code, 0);
  });

  await t.test("a delete and a run at once: one of them wins", async (t) => {
    for (const round of [1, 2, 3]) {
      const name = `race-${round}`;
      t.equal((await lab.cc(["vpc", "create", "--cidr", "10.9.0.0/24", "--name", name])).code, 0);
      const [deleted, ran] = await Promise.all([
        lab.cc(["vpc", "delete", name], { host: 2 }),
        detached(`late-${round}`, ["--vpc", name, "--host", `h${round}`], 3),
      ]);
      t.equal((deleted.code === 0) !== (ran.code === 0), true, `one of two: ${deleted.stderr}${ran.stderr}`);
      if (ran.code === 0) {
        t.equal((await lab.cc(["rm", "--force", `late-${round}`])).code, 0);
        await eventually("it can be deleted then", async () => (await lab.cc(["vpc", "delete", name])).code === 0);
      } else t.equal(await vpc(name), undefined);
    }
  });
});
