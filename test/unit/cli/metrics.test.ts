import t from "tap";
import { cpuPercent } from "../../../cli/usage.ts";
import type { ContainerMetrics } from "../../../src/api/client-messages.ts";
import { CcError } from "../../../src/base/index.ts";
import { eventually, installCc } from "./run-cc.ts";
import { type Json, startTestPeer } from "./test-peer.ts";

t.setTimeout(180_000);
const WEB = "caaaaaaaaaaaaaaaaaaaa";
const GONE = "cbbbbbbbbbbbbbbbbbbbb";
const { cc, remove } = await installCc();
t.teardown(remove);

/** Uses 25 % of a core: each reading is a second later. */
const reading = (at: number, more: Json = {}): Json => ({
  id: WEB,
  name: "web",
  host: "h",
  hostName: "attic",
  phase: "running",
  running: true,
  readAtMs: 1_700_000_000_000 + at * 1_000,
  monotonicMs: 5_000 + at * 1_000,
  startedAtMs: 1_700_000_000_000,
  cpu: { usedSeconds: 10 + at * 0.25, shares: 1024 },
  memory: { usedBytes: 12_582_912, peakBytes: 20_971_520, limitBytes: 67_108_864, oomKills: 1 },
  disk: { usedBytes: 1_048_576, limitBytes: 33_554_432, readBytes: 0, writtenBytes: 2_097_152, reads: 0, writes: 17 },
  interfaces: [{ name: "eth0", receivedBytes: 2_048, receivedPackets: 3, sentBytes: 1_024, sentPackets: 2 }],
  pids: { current: 4, limit: 64 },
  ...more,
});
const serving = async (answer: (at: number) => Json | CcError | "drop") => {
  let at = 0;
  const peer = await startTestPeer({ calls: { Metrics: () => answer(at++) } });
  t.teardown(() => peer.stop());
  return peer;
};

t.test("percent of a core: between two readings of one run", async (t) => {
  const [a, b] = [reading(0) as never as ContainerMetrics, reading(2) as never as ContainerMetrics];
  t.equal(cpuPercent(a, b), 25);
  t.equal(cpuPercent(undefined, b), undefined);
  t.equal(cpuPercent({ ...a, startedAtMs: 1 }, b), undefined, "it was started again in between");
  t.equal(cpuPercent({ ...a, host: "other" }, b), undefined, "it is elsewhere: another host's clock");
  t.equal(cpuPercent({ ...a, running: false }, b), undefined);
  t.equal(cpuPercent(b, b), undefined, "no time has passed");
  t.equal(cpuPercent(b, a), undefined, "an answer that was overtaken");
});

t.test("once: two readings, all that is known of each container", async (t) => {
  const peer = await serving((at) => ({
    containers: [reading(at), { id: GONE, name: "job", hostName: "attic", phase: "ended" }],
    errors: [{ item: "far", code: "HOST_UNREACHABLE", message: "its host cellar cannot be reached" }],
  }));
  const shown = await cc(["metrics", "web", "job", "far"], { peers: [peer] });
  t.equal(shown.code, 1, "one of them could not be shown");
  t.equal(shown.stderr, "Error [HOST_UNREACHABLE]: far: its host cellar cannot be reached\n");
  for (const line of [
    /^CPU: +25\.0 % of a core, 10\.25 s so far \(1024 shares\)$/m,
    /^Memory: +12 MiB of 64 MiB$/m,
    /^Memory peak: +20 MiB, file pages included$/m,
    /^OOM kills: +1$/m,
    /^Disk: +1 MiB of 32 MiB$/m,
    /^Disk traffic: read 0 B in 0, written 2 MiB in 17 requests$/m,
    /^Network eth0: received 2 KiB in 3, sent 1 KiB in 2 packets$/m,
    /^Processes: +4 of 64$/m,
    /^Phase: +ended\nRunning: no$/m,
  ])
    t.match(shown.stdout, line);
  t.same(peer.requests[0]?.body["containers"], ["web", "job", "far"]);
  const json: Json[] = JSON.parse((await cc(["metrics", "web", "job", "--json"], { peers: [peer] })).stdout);
  t.match(json, [
    { id: WEB, running: true, cpu: { percent: 25, shares: 1024, limitCores: 0 } },
    { id: GONE, name: "job", running: false },
  ]);
  t.notOk("cpu" in (json[1] ?? {}), "nothing is said of what does not run");
});

t.test("a watch: lines in a pipe, on through a peer that restarts, to its end", async (t) => {
  const peer = await serving((at) =>
    at === 2
      ? new CcError("STARTING", "this peer is stopping")
      : { containers: at > 3 ? [] : [reading(at)], errors: at > 3 ? [{ item: "web", code: "NOT_FOUND" }] : [] },
  );
  const watching = cc.start(["metrics", "web", "--watch", "--interval", "200ms"], { peers: [peer] });
  await eventually(() => watching.output().stdout.includes("NOT_FOUND"), "that it is gone");
  watching.child.kill("SIGINT");
  const { stdout, stderr } = await watching.done;
  const [head = "", first = "", second = "", third = "", last = ""] = stdout.split("\n");
  t.match(head, /^TIME +NAME +HOST +STATE +CPU +CPU TIME +MEMORY/);
  t.match(first, /Z +web +attic +running +- +10\.00 s +12 MiB of 64 MiB +1 MiB of 32 MiB +0 B\/2 MiB +2 KiB\/1 KiB +4$/);
  t.match(second, / 25\.0 % +10\.25 s /);
  t.match(third, / 25\.0 % +10\.75 s /, "over the gap of the reading that failed");
  t.match(last, /Z +web +- +NOT_FOUND +-/);
  t.match(stderr, /^Warning: this peer is stopping; it is tried again\n$/);
});

t.test("wrong usage, and nothing to watch", async (t) => {
  const peer = await serving(() => ({ errors: [{ item: "web", code: "NOT_FOUND", message: "there is no container web" }] }));
  for (const words of [
    ["--watch", "--json"],
    ["--interval", "2s"],
    ["--watch", "--interval", "1ms"],
    ["--watch", "--interval", "soon"],
  ])
    t.match(await cc(["metrics", "web", ...words], { peers: [peer] }), { code: 2, stdout: words.includes("--json") ? /BAD_USAGE/ : "" }, words.join(" "));
  t.equal(peer.requests.length, 0);
  t.match(await cc(["metrics", "web", "--watch"], { peers: [peer] }), { code: 1, stdout: "", stderr: /^Error \[NOT_FOUND\]/ });
});
