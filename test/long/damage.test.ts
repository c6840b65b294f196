import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { eventually, withLab } from "../e2e/lab.ts";

type Container = { readonly id: string; readonly phase: string; readonly hostName: string; readonly startedAtMs: number };
const HOSTS = [1, 2, 3];
const PEER = join(import.meta.dirname, "../../dist/bin/cc-peer");
const TICKS = ["--", "sh", "-c", "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2; done"];
const SMALL_DISK = "48m";
const SECONDS_FULL_MIN = 3;

withLab("stores that are damaged, disks that are full", { hosts: 3, zones: "a,a,a" }, async (t, lab) => {
  const image = await lab.image();
  const data = (host: number): string => join(lab.folder, `hosts/h${host}/data`);
  const log = (host: number): string => join(lab.folder, `hosts/h${host}/peer.log`);
  const kept: string[] = [];
  const list = (host: number): Promise<Container[]> => lab.json<Container[]>(["ps", "--all"], { host });
  const mine = async (host: number): Promise<Container[]> => (await list(host)).filter(({ id }) => kept.includes(id));
  const brief = (containers: readonly Container[]): string[] => containers.map(({ id, phase, hostName }) => `${id} ${phase} ${hostName}`).sort();
  const kill = async (host: number): Promise<void> => {
    await lab.on(host, "kill", "-9", String(await lab.peerPid(host)));
    await eventually("the peer is gone", async () => (await lab.status()).hosts[host - 1]?.state !== "running");
  };
  const runsAt = async (host: number): Promise<string> => {
    const ran = await lab.cc(["run", "--detach", "--host", `h${host}`, "--memory", "16m", "--disk", "16m", "--image", image, ...TICKS], { host: 1 });
    if (ran.code !== 0) throw new Error(ran.stderr);
    const id = ran.stdout.trim();
    await eventually(`${id} runs`, async () => (await list(1)).some((one) => one.id === id && one.phase === "running"));
    return id;
  };
  /** The same everywhere, and no process was started anew. */
  const goesOn = async (t: Test, before: readonly Container[]): Promise<void> => {
    for (const host of HOSTS) await eventually(`host ${host} knows all again`, async () => brief(await mine(host)).join() === brief(before).join());
    for (const { id } of before) {
      const lines = (await lab.cc(["logs", id], { host: 3 })).stdout.trim().split("\n");
      const ticks = lines.map((_, at) => `tick ${at + 1}`);
      t.strictSame(lines, ticks, `${id}: one start, every line there once`);
    }
  };

  await t.test("LevelDB's files damaged while the peer is down: said, refilled, and every container goes on", async (t) => {
    for (const host of [1, 2, 2]) kept.push(await runsAt(host));
    const store = join(data(2), "store");
    const file = (pattern: RegExp): string => join(store, readdirSync(store).find((name) => pattern.test(name)) ?? "none");
    const damages: Readonly<Record<string, () => void>> = {
      "bits flipped all over the log": () => flipBits(file(/\.log$/), 300),
      "the log cut in half": () => truncateSync(file(/\.log$/), Math.floor(statSync(file(/\.log$/)).size / 2)),
      "rubbish in the place of CURRENT": () => writeFileSync(join(store, "CURRENT"), "MANIFEST-999999\n"),
      "bits flipped in the tables": () => flipBits(file(/\.ldb$/), 40),
    };
    for (const [what, damage] of Object.entries(damages)) {
      const before = await mine(1);
      // LevelDB turns a log into a table when it is opened again.
      if (what.includes("tables")) await lab.must("restart", "2");
      await kill(2);
      const from = statSync(log(2)).size;
      damage();
      await lab.must("restart", "2");
      await t.test(what, (t) => goesOn(t, before));
      const said = readFileSync(log(2)).subarray(from).toString();
      t.match(said, /"level":"(error|warn)".*(the store is damaged: set aside|older than|is not there).*refilled/, `${what}: said in the log`);
      t.match(
        await lab.cc(["run", "--rm", "--host", "h2", "--image", image, "echo", "again"], { host: 2 }),
        { code: 0, stdout: "again\n" },
        `${what}: the host takes more`,
      );
    }
    const aside = readdirSync(data(2)).filter((name) => name.startsWith("store.damaged-"));
    t.ok(aside.length >= 2, `what was damaged is kept to look at: ${aside.join(", ")}`);
  });

  await t.test("a lone host whose store is lost goes on with what lies beside its containers and volumes", async (t) => {
    t.match(await lab.cc(["volume", "create", "--size", "16m", "--name", "kept"]), { code: 0 });
    const words = ["--", "sh", "-c", "echo precious > /k/f; sync; while :; do sleep 1; done"];
    const ran = await lab.cc([
      "run",
      "--detach",
      "--name",
      "keeper",
      "--host",
      "h2",
      "--volume",
      "kept:/k",
      "--memory",
      "16m",
      "--disk",
      "16m",
      "--image",
      image,
      ...words,
    ]);
    t.equal(ran.code, 0, ran.stderr);
    await eventually("it runs", async () => (await list(1)).some((one) => one.id === ran.stdout.trim() && one.phase === "running"));
    const before = (await list(1)).filter(({ hostName }) => hostName === "h2");
    await eventually("its records lie beside it", async () => readdirSync(join(data(2), "records-beside")).includes(ran.stdout.trim()));
    for (const host of HOSTS) await kill(host);
    rmSync(join(data(2), "store"), { recursive: true });
    const [config, pid] = ["hosts/h2/peer.json", "hosts/h2/lone.pid"].map((name) => join(lab.folder, name));
    const peer = lab.on(2, "sh", "-c", `echo $$ > ${pid}; exec ${PEER} run --config ${config} --accept-lost-store`).catch(() => undefined);
    const here = async (): Promise<readonly Container[]> => (await list(2).catch(() => [])).filter(({ hostName }) => hostName === "h2");
    await eventually("it has given its neighbours their time, and goes on", async () => brief(await here()).join() === brief(before).join(), 60_000);
    t.match(await lab.json(["volume", "list"], { host: 2 }), [{ name: "kept", state: "mounted", hostName: "h2" }]);
    t.match(await lab.cc(["exec", "keeper", "cat", "/k/f"], { host: 2 }), { code: 0, stdout: "precious\n" });
    process.kill(Number(readFileSync(pid ?? "", "utf8")), "SIGKILL");
    await peer;
    for (const host of HOSTS) await lab.must("restart", String(host));
    for (const host of HOSTS) await eventually(`host ${host} knows all again`, async () => (await list(host)).length === (await list(2)).length);
    t.equal((await lab.cc(["rm", "--force", "keeper"])).code, 0);
    t.equal((await lab.cc(["volume", "delete", "kept"])).code, 0);
  });

  await t.test("a full disk: refused with the reason, what runs goes on, nothing acknowledged is missing", async (t) => {
    const old = await list(1);
    t.equal((await lab.cc(["rm", "--force", ...old.map(({ id }) => id)])).code, 0);
    // What it has to have already: a disk with so little room takes no image.
    t.match(await lab.cc(["run", "--rm", "--host", "h3", "--image", image, "true"]), { code: 0 });
    await kill(3);
    // In the host's own mount namespace: it goes with the host.
    const small = `${data(3)}.small`;
    const mount = `mkdir ${small}; mount -t tmpfs -o size=${SMALL_DISK},mode=700 tmpfs ${small}; cp -a ${data(3)}/. ${small}/; mount --bind ${small} ${data(3)}`;
    t.match(await lab.on(3, "sh", "-ec", mount), { code: 0 });
    await lab.must("restart", "3");
    const acknowledged = [await runsAt(3), await runsAt(3), await runsAt(1)];

    const other = await lab.bigImage("other", 1024 ** 2);
    t.match(await lab.cc(["run", "--host", "h3", "--image", other, "sleep", "1"]), {
      code: 125,
      stderr:
        /^Error \[NO_ROOM\]: (the image does not fit on the disk of this host \(.*\)|the disk of this host is full); free some room, or choose another host$/m,
    });

    t.match(await lab.on(3, "sh", "-c", `dd if=/dev/zero of=${data(3)}/fill bs=64k; true`), { code: 0 });
    const outcomes: string[] = [];
    // The log's last page may take one more.
    for (let tries = 0; tries < 4; tries += 1) {
      const run = await lab.cc(["run", "--detach", "--host", "h3", "--memory", "16m", "--disk", "16m", "--image", image, ...TICKS]);
      outcomes.push(`${run.code} ${run.stderr}`);
      if (run.code === 0) acknowledged.push(run.stdout.trim());
      else t.match(run, { code: 125, stderr: /^Error \[[A-Z_]+\]: .*(could not write its claim|no answer|cannot be reached|can't be reached|unreachable)/m });
    }
    t.match(outcomes.at(-1), /^125 /, `refused in the end: ${outcomes.join("")}`);
    t.match((await lab.cc(["run", "--rm", "--image", image, "echo", "elsewhere"])).stdout, /^elsewhere$/m, "the others take it");
    await eventually("the peer has ended, as a disk that refuses writes demands", async () => (await lab.status()).hosts[2]?.state !== "running");
    t.match(readFileSync(log(3), "utf8"), /the disk refused a write: see the log; start the peer again when the disk is well/);
    // Whatever room its end has left.
    t.match(await lab.on(3, "sh", "-c", `cat /dev/zero >${data(3)}/fill-rest; true`), { code: 0 });
    const early = await lab.run("restart", "3");
    t.match(
      early,
      { code: 1, stderr: /NO_ROOM.*disk.*full|the disk refused a write .*No space left on device/ },
      "started while it is full, it says what is the matter",
    );
    t.notMatch(early.stderr, /^ +at /m, "without a stack");

    t.match(await lab.on(3, "rm", join(data(3), "fill"), join(data(3), "fill-rest")), { code: 0 });
    await lab.must("restart", "3");
    for (const host of HOSTS) {
      await eventually(
        `host ${host} has all that was acknowledged`,
        async () => {
          const here = await list(host);
          return acknowledged.every((id) => here.some((one) => one.id === id && (one.phase === "running" || one.phase === "failed")));
        },
        30_000,
      );
    }
    for (const id of acknowledged.slice(0, 2)) {
      // Lines that no disk took are lost; the process never noticed.
      const lines = (await lab.cc(["logs", id], { host: 2 })).stdout.trim().split("\n");
      t.equal(lines.filter((line) => line === "tick 1").length, 1, `${id} was started once`);
      const ticks = lines.map((line) => Number(line.replace("tick ", "")));
      t.strictSame(
        ticks,
        [...new Set(ticks)].sort((a, b) => a - b),
        "and no line is there twice",
      );
      t.ok((ticks.at(-1) ?? 0) > 5 * SECONDS_FULL_MIN, "it went on meanwhile");
    }
    t.comment(`acknowledged while the disk was full: ${acknowledged.length - 3}`);
    const all = await list(1);
    t.equal((await lab.cc(["rm", "--force", ...all.map(({ id }) => id)])).code, 0);
    await eventually("and nothing is left of it", async () => (await lab.on(3, "sh", "-c", "ls /run/cc/containers | grep -c ^c")).stdout.trim() === "0");
  });
});

/** Another bit every so many bytes; the first block's beginning stays, so that LevelDB itself has no reason to complain. */
function flipBits(file: string, every: number): void {
  const bytes = readFileSync(file);
  for (let at = every; at < bytes.length; at += every) bytes[at] = (bytes[at] ?? 0) ^ 0x20;
  writeFileSync(file, bytes);
}
