import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { writeLayout } from "../../nodes/lab/image.ts";
import { SeededRandom } from "../../nodes/simulated/random.ts";
import { NetworksUnderKills } from "./crash-networks.ts";
import { VolumesUnderKills } from "./crash-volumes.ts";
import { eventually, type TestLab, withLab } from "./lab.ts";
import { MortalPeer } from "./mortal-peer.ts";

type Container = { readonly id: string; readonly phase: string; readonly wanted: string; readonly hostName: string; readonly exitCode?: number };
/** What a container is asked to do: lines, then an end with an exit code; or lines until it is stopped. */
type Job = { readonly lines: number; readonly exitCode: number; readonly ends: boolean };
type Uploaded = { readonly digest: string; readonly copies: number };
type Acknowledged = { readonly id: string; readonly job: Job; stopped: boolean; removed: boolean; uncertain?: boolean };

const HOSTS = [1, 2, 3];
/** `npm run test:kills` makes it 50. */
const KILLS = Number(process.env["CC_TEST_KILLS"] ?? 5);
const CALLERS = 3;
/** Long enough on its way to be hit by a kill now and then. */
const UPLOAD_BYTES = 8_000_000;
/** All three peers down or starting at this moment. */
const NOBODY = /none of 3 endpoints could be used|OUTCOME_UNKNOWN/;
const SEED = Number(process.env["CC_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
/** Chance is drawn from streams of their own: what one loop draws does not shift another's. */
const STREAM = { kills: 1, callers: 100, volumes: 200, networks: 300 } as const;

const script = ({ lines, exitCode, ends }: Job): string =>
  `echo begun; n=0; while ${ends ? `[ $n -lt ${lines} ]` : ":"}; do n=$((n+1)); echo line $n; echo other $n >&2; sleep 0.1; done; exit ${exitCode}`;

withLab(`peers killed at ${KILLS} moments, seed ${SEED}`, { hosts: HOSTS.length, zones: "a,a,a" }, async (t, lab) => {
  t.comment(`CC_TEST_SEED=${SEED} kills in the same order again`);
  const image = await lab.image();
  const endpoints = (await Promise.all(HOSTS.map(async (host) => (await lab.environment(host))["CC_ENDPOINT_URL"]))).join(",");
  const acknowledged: Acknowledged[] = [];
  const peers = HOSTS.map((number) => new MortalPeer(lab, number));
  // One run before the first kill, so that the image is on every host: pulls under kills have tests of their own.
  for (const host of HOSTS) {
    const { code, stderr } = await lab.cc(["run", "--rm", "--host", `h${host}`, "--image", image, "--", "true"]);
    t.equal(code, 0, stderr);
  }
  const chaos = new AbortController();
  let kills = 0;
  let down = 0;

  const killAgainAndAgain = async (peer: MortalPeer, at: number): Promise<void> => {
    const random = new SeededRandom(SEED, STREAM.kills + at);
    while (kills < KILLS) {
      kills += 1;
      await pause(random.between(50, 1_200));
      // Where all are down at once, each waits up to 10 s for a neighbour: right, but no test can wait for it 50 times.
      while (down >= HOSTS.length - 1) await pause(10);
      down += 1;
      await peer.kill();
      peer.start();
      // One in eight is killed again before it is ready.
      if (random.chance(1 / 8)) await pause(random.between(0, 1_500));
      else await peer.untilReady();
      down -= 1;
    }
  };

  const call = (words: readonly string[]) => lab.cc(words, { env: { CC_ENDPOINT_URL: endpoints } });
  const callAgainAndAgain = async (number: number): Promise<void> => {
    const random = new SeededRandom(SEED, STREAM.callers + number);
    while (!chaos.signal.aborted) {
      const running = acknowledged.filter(({ job, stopped }) => !job.ends && !stopped);
      const [oldest] = running;
      if (oldest !== undefined && running.length > 6) {
        oldest.stopped = true;
        const words = random.chance(0.5) ? ["stop", "--timeout", "1s", oldest.id] : ["rm", "--force", oldest.id];
        const { code, stderr } = await call(words);
        // Nobody was there to take it, or (a removal) not all could be asked about an id that the asked peer does not know: no promise.
        oldest.uncertain = NOBODY.test(stderr) || stderr.includes("could not be asked");
        if (oldest.uncertain) continue;
        t.equal(code, 0, `${words[0]} ${oldest.id} ${stderr}`);
        oldest.removed = words[0] === "rm";
        continue;
      }
      const job = { lines: random.between(1, 30), exitCode: random.below(4), ends: random.chance(0.7) };
      const { code, stdout } = await call([
        "run",
        "--detach",
        "--memory",
        "16m",
        "--disk",
        "16m",
        "--stop-signal",
        "KILL",
        "--image",
        image,
        "--",
        "sh",
        "-c",
        script(job),
      ]);
      // Refused, or not known: then it may be there or not, but only once.
      if (code === 0) acknowledged.push({ id: stdout.trim(), job, stopped: false, removed: false });
      await pause(random.between(0, 400));
    }
  };

  const volumes = new VolumesUnderKills({ lab, call, image, random: new SeededRandom(SEED, STREAM.volumes) });
  const networks = new NetworksUnderKills({ lab, call, image, random: new SeededRandom(SEED, STREAM.networks) });
  await networks.begin(t);
  const uploaded: Uploaded[] = [];
  /** Images that are no archive inside: nobody unpacks them here, they only have to lie whole where it was said. */
  const pushAgainAndAgain = async (): Promise<void> => {
    for (let number = 0; !chaos.signal.aborted; number += 1) {
      const folder = join(lab.folder, "test", `upload${number}`);
      mkdirSync(folder, { recursive: true });
      writeLayout(folder, randomBytes(UPLOAD_BYTES));
      const { code, stdout, stderr } = await call(["image", "push", `oci:${folder}`, "--json"]);
      if (code === 0) uploaded.push(JSON.parse(stdout));
      else t.match(stderr, /PEER_UNREACHABLE|STARTING|none of 3 endpoints|OUTCOME_UNKNOWN|IMAGE_NOT_FOUND/, "a push that failed says that peers were gone");
    }
  };

  await t.test("killed while containers start, run, write and end, volumes are made, used and deleted, networks change, and images are brought", async (t) => {
    const callers = [
      ...Array.from({ length: CALLERS }, (_, number) => callAgainAndAgain(number)),
      volumes.work(chaos.signal),
      networks.work(chaos.signal),
      pushAgainAndAgain(),
    ];
    await Promise.all(peers.map(killAgainAndAgain));
    chaos.abort();
    await Promise.all(callers);
    t.ok(kills >= KILLS, `${kills} kills`);
    t.ok(acknowledged.length >= KILLS / 4, `${acknowledged.length} runs were acknowledged meanwhile`);
    const took = peers.flatMap(({ readyAfterMs }) => readyAfterMs).sort((a, b) => a - b);
    t.comment(`ready again after ${took.map((ms) => Math.round(ms)).join(", ")} ms`);
    // Those that died before they were ready last.
    for (const peer of peers) if (!(await settles(peer))) t.fail("a peer did not come back");
  });

  const known = acknowledged.filter(({ removed, uncertain }) => !removed && uncertain !== true);
  const all = (host: number): Promise<Container[]> => lab.json<Container[]>(["ps", "--all"], { host });

  await t.test("no record acknowledged before is missing, every peer says the same", async (t) => {
    const isSettled = ({ id, phase, exitCode, wanted }: Container): boolean => {
      const one = known.find((candidate) => candidate.id === id);
      if (one === undefined) return ["running", "ended"].includes(phase);
      if (one.job.ends && !one.stopped) return phase === "ended" && exitCode === one.job.exitCode;
      return one.stopped ? phase === "ended" && wanted === "stopped" : phase === "running";
    };
    let seen: Container[] = [];
    await eventually(
      "all are as they should be",
      async () => {
        seen = await all(1);
        return seen.every(isSettled) && known.every(({ id }) => seen.some((one) => one.id === id));
      },
      60_000,
    ).catch(() => undefined);
    t.same(
      known.filter(({ id }) => !seen.some((one) => one.id === id)),
      [],
      "none is lost",
    );
    t.same(
      seen.filter((one) => !isSettled(one)),
      [],
      "each runs, or ended as it should, with its exit code",
    );
    const removed = acknowledged.filter((one) => one.removed);
    t.same(
      removed.filter(({ id }) => seen.some((one) => one.id === id)),
      [],
      `of ${removed.length} removed none came back`,
    );
    const brief = (list: readonly Container[]): string[] => list.map(({ id, phase, hostName }) => `${id} ${phase} ${hostName}`).sort();
    for (const host of [2, 3]) await eventually(`host ${host} says the same`, async () => brief(await all(host)).join() === brief(await all(1)).join());
  });

  await t.test("networks: the others' traffic never stopped, and kernels hold what state says", (t) => networks.check(t, kills));

  await t.test("images that were acknowledged lie whole on as many hosts as was said, and nothing half anywhere", async (t) => {
    t.ok(uploaded.length > 0, `${uploaded.length} images were brought meanwhile`);
    const folder = (host: number, part: string): string => join(lab.folder, `hosts/h${host}/data/images`, part);
    for (const host of HOSTS) {
      t.same(readdirSync(folder(host, "u")), [], `nothing is on its way at host ${host}`);
      const spoilt = readdirSync(folder(host, "b")).filter(
        (name) =>
          createHash("sha256")
            .update(readFileSync(join(folder(host, "b"), name)))
            .digest("hex") !== name,
      );
      t.same(spoilt, [], `every blob of host ${host} is what its name says`);
    }
    const has = (host: number, digest: string): boolean => {
      const hex = digest.slice("sha256:".length);
      return readdirSync(folder(host, "h")).includes(`${hex}.json`) && readdirSync(folder(host, "b")).includes(hex);
    };
    const few = uploaded.filter(({ digest, copies }) => HOSTS.filter((host) => has(host, digest)).length < copies);
    t.same(few, [], "none is on fewer hosts than was said");
  });

  await t.test("started once, every line there once", async (t) => {
    for (const { id, job, stopped } of known) {
      const { stdout, stderr, code } = await lab.cc(["logs", id], { host: 2 });
      t.equal(code, 0, stderr);
      // Stopped before its process began.
      if (stopped && stdout === "") continue;
      const lines = stdout.trimEnd().split("\n");
      const counted = job.ends ? job.lines : Math.max(0, lines.length - 1);
      t.strictSame(lines, ["begun", ...Array.from({ length: counted }, (_, at) => `line ${at + 1}`)], `output of ${id}`);
      const others = stderr
        .trimEnd()
        .split("\n")
        .filter((line) => line.startsWith("other "));
      t.strictSame(
        others,
        Array.from({ length: others.length }, (_, at) => `other ${at + 1}`),
        `errors of ${id}`,
      );
      if (job.ends) t.equal(others.length, job.lines);
    }
  });

  await t.test("volumes: nothing acknowledged is lost, none is mounted twice", (t) => volumes.check(t));

  await t.test("none twice, none left half", async (t) => {
    const here = await all(1);
    const places = new Map<string, string[]>();
    for (const host of HOSTS) for (const id of await containersOn(lab, host)) places.set(id, [...(places.get(id) ?? []), `h${host}`]);
    t.same(
      [...places].filter(([, hosts]) => hosts.length > 1),
      [],
      "none lies on two hosts",
    );
    t.same(
      [...places.keys()].filter((id) => !here.some((one) => one.id === id)),
      [],
      "none lies there that nobody knows",
    );
    const removed = await lab.cc(["rm", "--force", ...here.map(({ id }) => id)], { timeoutMs: 120_000 });
    t.equal(removed.code, 0, removed.stderr);
    for (const host of HOSTS) await eventually(`nothing lies on host ${host}`, async () => (await containersOn(lab, host)).length === 0, 60_000);
    await volumes.clear(t);
    await networks.clear(t);
  });
});

/** Waits for the last start; one that was killed before it was ready is started once more. */
async function settles(peer: MortalPeer): Promise<boolean> {
  return await peer.untilReady().then(
    () => true,
    () => false,
  );
}

/** Ids of which anything lies on a host: a folder, a mount. */
async function containersOn(lab: TestLab, host: number): Promise<string[]> {
  const look = `ls /run/cc/containers ${lab.folder}/hosts/h${host}/data/containers 2>/dev/null; sed 's, ,\\n,g' /proc/self/mounts`;
  const { stdout } = await lab.on(host, "sh", "-c", look);
  return [...new Set(stdout.match(/\bc[a-z2-7]{20}\b/g) ?? [])];
}
