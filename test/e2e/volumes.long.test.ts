import { eventually, withLab } from "./lab.ts";

type Volume = {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly hostName: string;
  readonly sizeBytes: number;
  readonly usedBytes?: number;
  readonly allocatedBytes?: number;
  readonly users: readonly { readonly name: string; readonly path: string; readonly readOnly: boolean }[];
};
type Container = { readonly id: string; readonly phase: string; readonly hostName: string };
const HOSTS = [1, 2, 3];
const MIB = 1024 ** 2;
const FOREVER = ["--", "sh", "-c", "trap 'exit 0' TERM; echo begun; while :; do sleep 0.2; done"];
/** A clear answer has to come within this time. */
const ANSWER_MS = 5_000;

withLab("volumes through each of three peers", { hosts: 3, zones: "a,a,b" }, async (t, lab) => {
  const image = await lab.image();
  const volumes = (host = 1): Promise<Volume[]> => lab.json<Volume[]>(["volume", "list"], { host });
  const volume = async (name: string, host = 1): Promise<Volume | undefined> => (await volumes(host)).find((one) => one.name === name);
  const phaseOf = async (name: string): Promise<string | undefined> => (await lab.json<Container[]>(["status", name]))[0]?.phase;
  const sh = (volumes: readonly string[], script: string, host = 1) =>
    lab.cc(["run", "--rm", "--image", image, ...volumes.flatMap((one) => ["--volume", one]), "--", "sh", "-c", script], { host });

  for (const host of HOSTS) {
    await t.test(`through host ${host}`, async (t) => {
      const name = `data-${host}`;
      const made = await lab.cc(["volume", "create", "--size", String(64 * MIB), "--name", name], { host });
      t.match(made, { code: 0, stdout: /^v[a-z2-7]{20}\n$/ }, "create prints the id alone");
      const id = made.stdout.trim();
      t.match(await volume(name, host), { id, state: "fresh", hostName: `h${host}`, sizeBytes: 64 * MIB, users: [] });
      t.match(await lab.cc(["volume", "create", "--size", "64m", "--name", name], { host: (host % 3) + 1 }), { code: 1, stderr: /^Error \[NAME_TAKEN\]: / });

      const first = await sh([`${name}:/data`], "echo kept > /data/file && id -u && stat -c %u:%g /data/file", host);
      t.match(first, { code: 0, stdout: "0\n0:0\n" }, first.stderr);
      // The next container goes to the host that has the data, whoever is asked and by which name.
      const second = await sh([`${id}:/other:ro`], "cat /other/file; echo x > /other/new", (host % 3) + 1);
      t.match(second, { code: 1, stdout: "kept\n", stderr: /[Rr]ead-only/ });

      const ran = await lab.cc(["run", "--detach", "--name", `user-${host}`, "--image", image, "--volume", `${name}:/data`, ...FOREVER], { host });
      t.equal(ran.code, 0, ran.stderr);
      await eventually("it runs", async () => (await phaseOf(`user-${host}`)) === "running");
      const inspected = (await lab.json<Volume[]>(["volume", "inspect", name], { host }))[0];
      t.match(inspected, { id, state: "mounted" });
      t.match(
        inspected?.users.find((user) => user.name === `user-${host}`),
        { path: "/data", readOnly: false },
      );
      t.ok((inspected?.usedBytes ?? 0) > 0 && (inspected?.allocatedBytes ?? 0) > 0, "its host says how full it is");
      for (const busy of ["running", "ended"]) {
        const refused = await lab.cc(["volume", "delete", name], { host });
        t.match(refused, { code: 1, stdout: "", stderr: new RegExp(`^Error \\[IN_USE\\]: .*user-${host}.*cc rm`) }, busy);
        if (busy === "running") await lab.cc(["stop", `user-${host}`], { host });
      }
      t.equal((await lab.cc(["rm", `user-${host}`], { host })).code, 0);
      t.match(await lab.cc(["volume", "delete", name], { host: (host % 3) + 1 }), { code: 0, stdout: `${name}\n` });
      t.match(await lab.cc(["volume", "delete", id, "never-was"], { host }), { code: 0, stderr: "" }, "what is gone, or never was, succeeds");
      t.match(await lab.cc(["volume", "inspect", id], { host }), { code: 1, stderr: /^Error \[NOT_FOUND\]: / });
      t.match(await lab.cc(["run", "--image", image, "--volume", `${id}:/data`, "true"], { host }), { code: 125, stderr: /^Error \[NOT_FOUND\]: /m });
    });
  }

  await t.test("refusals: each within five seconds, and nothing is left of it", async (t) => {
    const before = await volumes();
    const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
      [["volume", "create", "--size", "1g", "--name", "d", "--persistent"], 1, /^Error \[NOT_YET\]: --persistent [^\n]+\n$/],
      [["volume", "create", "--size", "1", "--name", "d"], 1, /^Error \[BAD_SIZE\]: .*16777216/],
      [["volume", "create", "--size", "17TiB", "--name", "d"], 1, /^Error \[BAD_SIZE\]: /],
      [["volume", "create", "--size", "x", "--name", "d"], 2, /size/],
      [["volume", "create", "--size", "1g", "--name", "Not A Name"], 2, /name/],
      [["volume", "create", "--size", "1g"], 2, /--name/],
      [["volume", "delete"], 2, /volumes/i],
      [["volume", "inspect", "vaaaaaaaaaaaaaaaaaaaa"], 1, /^Error \[NOT_FOUND\]: /],
      [["run", "--image", image, "--volume", "nowhere:/data", "true"], 125, /^Error \[NOT_FOUND\]: .*nowhere/],
      [["run", "--image", image, "--volume", "/etc:/data", "true"], 2, /cc volume create/],
      [["run", "--image", image, "--volume", "d", "true"], 2, /VOLUME:/],
    ];
    for (const [words, code, stderr] of cases) {
      const beganMs = Date.now();
      t.match(await lab.cc(words, { host: 2 }), { code, stderr }, words.join(" "));
      t.ok(Date.now() - beganMs < ANSWER_MS, `${words.join(" ")}: answered in time`);
    }
    t.same(await volumes(), before);
  });

  await t.test("a volume that does not fit is refused where its room would be taken, with the numbers", async (t) => {
    t.equal((await lab.cc(["volume", "create", "--size", "1TiB", "--name", "huge"])).code, 0, "one that is never used takes no room");
    const refused = await lab.cc(["run", "--image", image, "--volume", "huge:/data", "true"]);
    t.match(refused, { code: 125, stderr: /^Error \[NO_ROOM\]: .*disk asked/m });
    t.match(await volume("huge"), { state: "fresh", users: [] }, "nothing is left of it");
    t.equal((await lab.cc(["volume", "delete", "huge"])).code, 0);
  });

  await t.test("a fresh volume goes to the host of its first container; what was used stays, and does not split", async (t) => {
    for (const name of ["moves", "stays"]) t.equal((await lab.cc(["volume", "create", "--size", "32m", "--name", name])).code, 0);
    const there = await lab.cc(["run", "--rm", "--host", "h3", "--image", image, "--volume", "moves:/data", "--", "sh", "-c", "echo here > /data/x"]);
    t.equal(there.code, 0, there.stderr);
    for (const host of HOSTS) await eventually(`host ${host} knows`, async () => (await volume("moves", host))?.hostName === "h3");
    t.match(await volume("moves"), { state: "mounted", hostName: "h3" });
    const elsewhere = await lab.cc(["run", "--host", "h2", "--image", image, "--volume", "moves:/data", "true"]);
    t.match(elsewhere, { code: 125, stderr: /^Error \[NO_ROOM|CONFLICT\]: /m });
    t.equal((await lab.cc(["run", "--rm", "--host", "h1", "--image", image, "--volume", "stays:/data", "true"])).code, 0);
    const split = await lab.cc(["run", "--image", image, "--volume", "moves:/a", "--volume", "stays:/b", "true"]);
    t.match(split, { code: 125, stderr: /^Error \[CONFLICT\]: .*different hosts/m });
    t.match(await sh(["moves:/data"], "cat /data/x"), { code: 0, stdout: "here\n" });

    const none = await lab.cc(["run", "--detach", "--name", "holds", "--image", image, "--volume", "stays:/b", ...FOREVER]);
    t.equal(none.code, 0, none.stderr);
    const both = await lab.cc(["volume", "delete", "moves", "stays"]);
    t.match(both, { code: 1, stdout: "", stderr: /IN_USE/ }, "one in use: none is deleted");
    t.match(await volume("moves"), { state: "mounted" });
    t.equal((await lab.cc(["rm", "--force", "holds"])).code, 0);
    t.match(await lab.cc(["volume", "delete", "moves", "stays"]), { code: 0, stdout: "moves\nstays\n" });
  });

  await t.test("two first uses at once share one file system; a delete and an attach at once: one of them wins", async (t) => {
    t.equal((await lab.cc(["volume", "create", "--size", "32m", "--name", "both"])).code, 0);
    const runs = await Promise.all(HOSTS.map((host) => sh(["both:/data"], `echo ${host} > /data/${host}`, host)));
    for (const run of runs) t.equal(run.code, 0, run.stderr);
    t.match(await sh(["both:/data"], "cat /data/1 /data/2 /data/3"), { code: 0, stdout: "1\n2\n3\n" });

    for (const round of [1, 2, 3]) {
      const name = `race-${round}`;
      t.equal((await lab.cc(["volume", "create", "--size", "32m", "--name", name])).code, 0);
      const [deleted, attached] = await Promise.all([
        lab.cc(["volume", "delete", name], { host: 2 }),
        lab.cc(["run", "--detach", "--name", `late-${round}`, "--host", `h${round}`, "--image", image, "--volume", `${name}:/data`, ...FOREVER], { host: 3 }),
      ]);
      t.equal((deleted.code === 0) !== (attached.code === 0), true, `one of two: ${deleted.stderr}${attached.stderr}`);
      if (attached.code === 0) {
        await eventually("it runs", async () => (await phaseOf(`late-${round}`)) === "running");
        t.match(deleted.stderr, /IN_USE|CONFLICT|TIMEOUT/);
        t.equal((await lab.cc(["rm", "--force", `late-${round}`])).code, 0);
        t.equal((await lab.cc(["volume", "delete", name])).code, 0);
      } else t.equal(await volume(name), undefined);
    }
    t.equal((await lab.cc(["volume", "delete", "both"])).code, 0);
  });

  await t.test("the host of a volume is down: said so at once; its peer is killed: the data is there afterwards", async (t) => {
    t.equal((await lab.cc(["volume", "create", "--size", "32m", "--name", "far"], { host: 3 })).code, 0);
    t.equal(
      (
        await lab.cc([
          "run",
          "--detach",
          "--name",
          "writer",
          "--restart",
          "always",
          "--host",
          "h3",
          "--image",
          image,
          "--volume",
          "far:/data",
          "--",
          "sh",
          "-c",
          "echo once >> /data/x; sync; sleep 1000",
        ])
      ).code,
      0,
    );
    await eventually("it runs", async () => (await phaseOf("writer")) === "running");
    process.kill(await lab.peerPid(3), "SIGKILL");
    await lab.must("restart", "3");
    await eventually("its peer is back", async () => (await lab.cc(["volume", "list"], { host: 3 })).code === 0);
    t.equal(await phaseOf("writer"), "running", "the container ran on");
    await lab.must("kill", "3");
    type Host = { readonly name: string; readonly state: string };
    await eventually(
      "its host is known to be down",
      async () => (await lab.json<Host[]>(["host", "list"])).find(({ name }) => name === "h3")?.state === "unreachable",
    );
    for (const [words, code] of [
      [["volume", "delete", "far"], 1],
      [["run", "--image", image, "--volume", "far:/data", "true"], 125],
    ] as const) {
      const beganMs = Date.now();
      t.match(await lab.cc(words), { code, stderr: /Error \[HOST_UNREACHABLE\]: .*far/ }, words.join(" "));
      t.ok(Date.now() - beganMs < ANSWER_MS);
    }
    await lab.must("start", "3");
    await eventually("its host is back", async () => (await phaseOf("writer")) === "running");
    // The host lost its power: the file system was mounted anew, the same one.
    t.equal((await lab.cc(["rm", "--force", "writer"])).code, 0);
    t.match(await sh(["far:/data"], "cat /data/x"), { code: 0, stdout: "once\nonce\n" });
    t.equal((await lab.cc(["volume", "delete", "far"])).code, 0);
    t.same(await volumes(), []);
  });
});
