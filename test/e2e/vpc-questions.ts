import { readFileSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as pause } from "node:timers/promises";
import type { Test } from "tap";
import type { DnsLoad } from "./dns-load.ts";
import type { TestLab } from "./lab.ts";
import { MortalPeer } from "./mortal-peer.ts";
import { endOf, type Inside, type Member } from "./vpc-scene.ts";

const IS_SHARED = process.env["CC_TEST_SHARED_MACHINE"] === "1";
const PER_SECOND = 10_000;
/** A little more than that, for what the asking side itself is late with. */
const ASKED_PER_SECOND = 11_000;
const LOAD_S = 4;
const STALL_MS_MAX = 50;
const RESOLUTION_MS = 5;
/** What a start costs is not what is looked for. */
const SETTLED_S = 3;
const GATEWAY = "10.7.0.1";
/** The host's end of every transit, where the name server listens. */
const SERVER = "100.127.240.1";

const program = (name: string, ...words: readonly (string | number)[]): readonly string[] => [
  process.execPath,
  join(import.meta.dirname, name),
  ...words.map(String),
];

async function load(inside: Inside, from: Member, perSecond: number, seconds: number): Promise<DnsLoad> {
  const name = `${from.name}.${from.vpc}.cc.internal`;
  return JSON.parse(await endOf(inside.startBy(from, program("dns-load.ts", GATEWAY, name, perSecond, seconds))));
}

const serverPid = async (inside: Inside): Promise<string> => /pid=(\d+)/.exec((await inside.on(1, `ss -lnup 'src ${SERVER}'`)).stdout)?.[1] ?? "";

/** For how long a loop stood still at most between two moments. */
function stoodStillMs(lab: TestLab, fromMs: number, toMs: number): number {
  const notes = readFileSync(join(lab.folder, "hosts/h1/loop.watch"), "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" ").map(Number));
  const within = notes.flatMap(([atMs = 0, ms = Number.NaN]) => (atMs > fromMs && atMs <= toMs ? [ms] : []));
  return Math.round(10 * Math.max(...within)) / 10;
}

/** Asked by a container, through the gateway, while the peer's own loop is watched from inside it. */
export async function manyQuestions(t: Test, lab: TestLab, inside: Inside, from: Member): Promise<void> {
  const peer = new MortalPeer(lab, 1);
  await peer.kill();
  peer.start(join(import.meta.dirname, "loop-watch.ts"));
  await peer.untilReady();
  await load(inside, from, 50, SETTLED_S);
  const beganMs = Date.now();
  const idle = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  idle.enable();
  const { sent, answered, tookMs, p99Ms, slowestMs } = await load(inside, from, ASKED_PER_SECOND, LOAD_S);
  idle.disable();
  const [peerMs, idleMs] = [stoodStillMs(lab, beganMs, Date.now()), Math.round(idle.max / 1e5) / 10 - RESOLUTION_MS];
  const perSecond = Math.round((answered * 1_000) / tookMs);
  t.comment(
    `${perSecond} answers/s of ${sent} questions, p99 ${p99Ms} ms, slowest ${slowestMs} ms; the peer's loop stood still for ${peerMs} ms, an idle program's ${idleMs} ms`,
  );
  t.ok(answered > 0);
  // Where others are at work on the machine, these say nothing.
  if (IS_SHARED) return;
  t.ok(answered >= sent * 0.99, `${answered} of ${sent} were answered`);
  t.ok(perSecond >= PER_SECOND, `${perSecond} a second`);
  // Where the machine itself lets nobody run for so long, the peer cannot either.
  t.ok(peerMs <= Math.max(STALL_MS_MAX, 2 * idleMs), `the peer's loop stood still for ${peerMs} ms`);
}

/** One VPC asks as much as it can; the other, on the same host, hardly notices. */
export async function floodedByAnother(t: Test, inside: Inside, flooding: Member, vpc: string, from: Member): Promise<void> {
  const flood = load(inside, flooding, 200_000, LOAD_S);
  await pause(1_000);
  const { sent, answered, p99Ms, slowestMs } = await load(inside, from, 50, LOAD_S - 2);
  const flooded = await flood;
  t.comment(`${flooded.answered} of ${flooded.sent} answered to who flooded; ${answered} of ${sent} to the other, p99 ${p99Ms} ms, slowest ${slowestMs} ms`);
  if (!IS_SHARED) t.ok(answered >= sent * 0.9, `${answered} of ${sent} were answered`);
  const { stdout } = await inside.at(1, vpc, "nft list counter inet cc too_many_questions");
  t.match(stdout, /packets [1-9]/, "what was too much is counted");
}

/** By UDP and TCP; the same process answers afterwards. */
export async function malformed(t: Test, inside: Inside, from: Member): Promise<void> {
  const before = await serverPid(inside);
  t.not(before, "");
  const said = await endOf(inside.startBy(from, program("dns-fuzz.ts", GATEWAY, `${from.name}.${from.vpc}.cc.internal`, 2_000)));
  const { replies, packets } = JSON.parse(said) as { replies: number; packets: number };
  t.ok(replies > packets / 10, `${replies} of ${packets} had an answer`);
  t.equal((await load(inside, from, 50, 1)).answered > 0, true, "names are answered");
  t.equal(await serverPid(inside), before, "by the same process");
}

/** Nobody outside is answered, whatever address of the host he asks, and has ways to. */
export async function notForOutside(t: Test, inside: Inside, from: Member): Promise<void> {
  const name = `${from.name}.${from.vpc}.cc.internal`;
  const targets = [SERVER, inside.address(1), "100.127.240.2", GATEWAY];
  const ask = targets.map(
    (at) => `( busybox nslookup ${name} ${at} 2>&1 | grep -q "^Name:" && echo "${at} udp" ) &
( socat -u -T2 TCP4:${at}:53,connect-timeout=2 - </dev/null >/dev/null 2>&1 && echo "${at} tcp" ) &`,
  );
  const ways = (verb: string): string => [SERVER, "100.127.240.2", "10.7.0.0/24"].map((at) => `ip route ${verb} ${at} via ${inside.address(1)}`).join("\n");
  try {
    await inside.outside(ways("add"));
    t.equal((await inside.outside(`${ask.join("\n")}\nwait`)).stdout, "", "from outside");
    // A host without VPCs would send to the other; this one has that address itself.
    t.equal((await inside.on(2, `busybox nslookup ${name} ${inside.address(1)} 2>&1 | grep "^Name:"`)).stdout, "", "from another host");
  } finally {
    await inside.outside(ways("del"));
  }
  t.match((await inside.by(from, `busybox nslookup ${name} ${GATEWAY}`)).stdout, /^Name:/m, "but containers are");
}
