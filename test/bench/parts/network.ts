import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { netFile, WIRE } from "../../../nodes/lab/scripts.ts";
import { requireState } from "../../../nodes/lab/state-file.ts";
import type { BenchLab } from "../bench-lab.ts";
import type { Cleanup } from "../cleanup.ts";
import { makeBetween, makeByHand, type Pair, type Standing } from "../network/by-hand.ts";
import { inside, Places } from "../network/places.ts";
import { fetchIperf, serve } from "../network/traffic.ts";
import { type BenchVpc, measureOnce, noTraffic, STREAMS, type Traffic, throughputRatios, trafficCells, trafficValues } from "../network/traffic-report.ts";
import { number, type Result, verdict, verdictLeast } from "../report.ts";
import { median, turnOrder } from "../statistics.ts";
import { outputOf, timedRun } from "../timed-run.ts";
import { benchAttach } from "./network-attach.ts";
import { benchRuleLoad } from "./network-load.ts";
import { benchNames } from "./network-names.ts";
import { benchRulesets } from "./network-rulesets.ts";

const TURNS_MAX = 7;
/** Free on the underlay: .3 to .10 are kept for such things. */
const BY_HAND_LAST = [7, 8] as const;
const VPC: Omit<BenchVpc, "id"> = { name: "bench", cidr: "10.77.0.0/16", gateway: "10.77.0.1" };
const [THROUGHPUT, LATENCY] = [0.95, 1.05];
const STARTED_MS_MAX = 60_000;

/** Everything about networks of VPCs: traffic between hosts, what rules and ports cost, attaching, names, rulesets. */
export async function benchNetwork(lab: BenchLab, image: string, runs: number, cleanup: Cleanup, signal: AbortSignal): Promise<Result[]> {
  await fetchIperf(signal);
  const places = new Places(cleanup, signal);
  const addresses = await addressesByHand(lab);
  const byHand = await makeByHand(places, (pid, port) => onWire(lab, pid, port, signal), addresses);
  const id = (await timedRun(await lab.cc(["vpc", "create", "--cidr", VPC.cidr, "--name", VPC.name]), signal)).stdout.trim();
  const vpc = { ...VPC, id };
  const [from, to] = [await container(lab, vpc, image, "net-1", 1, signal), await container(lab, vpc, image, "net-2", 2, signal)];
  const ours: Pair = { from: from.container, to: to.container, address: to.inVpc };
  const ways = [
    { name: "a VPC, host to host", pair: ours },
    { name: "VXLAN by hand, between the same namespaces", pair: await makeBetween(places, [from, to]) },
    { name: "VXLAN by hand, on hosts without any rule", pair: byHand.vxlan },
    { name: "routes by hand, no overlay", pair: byHand.routes },
    { name: "bare veth, one host", pair: byHand.veth },
  ];
  for (const place of new Set(ways.map(({ pair }) => pair.to))) await serve(places, place, signal);
  const turns = Math.min(runs, TURNS_MAX);
  const results = [
    await benchNames(lab, vpc, image, to.container, runs, signal),
    await benchTraffic(ways, turns, signal),
    await benchRuleLoad({ lab, vpc, image, ours, byHand: byHand.vxlan, turns }, signal),
  ];
  await timedRun(await lab.cc(["rm", "--force", "net-1", "net-2"]), signal);
  await timedRun(await lab.cc(["vpc", "delete", VPC.name]), signal);
  return [...results, await benchAttach(cleanup, signal), await benchRulesets(turns, cleanup, signal)];
}

async function benchTraffic(ways: readonly { readonly name: string; readonly pair: Pair }[], turns: number, signal: AbortSignal): Promise<Result> {
  const found = ways.map(noTraffic);
  for (let turn = 0; turn < turns; turn += 1) {
    for (const index of turnOrder(ways.length, turn)) {
      const [way, into] = [ways[index], found[index]];
      if (way !== undefined && into !== undefined) await measureOnce(way.pair, into, signal);
    }
  }
  const [ours, hand, bare] = found;
  if (ours === undefined || hand === undefined || bare === undefined) throw new RangeError();
  const rows = ways.map(({ name }, index) => [name, ...trafficCells(found[index] ?? ours, index === 1 ? undefined : hand)]);
  const compared = (other: Traffic): readonly [number, number] => [
    Math.min(...throughputRatios(ours, other)),
    median(ours.roundTripUs) / median(other.roundTripUs),
  ];
  const [[throughput, latency], [throughputBare, latencyBare]] = [compared(hand), compared(bare)];
  return {
    part: "network",
    title: `Between containers on two hosts, ${turns} interleaved runs (in brackets: of VXLAN by hand between the same namespaces)`,
    columns: ["way", "TCP, Gbit/s", `TCP, ${STREAMS} streams`, "UDP of 64 bytes, thousands a second", "there and back, µs, p50", "p99"],
    rows,
    notes: [
      `Of VXLAN by hand between the same namespaces the throughput is at least ${number(throughput)}, ${verdictLeast(throughput, THROUGHPUT)}; the latency ${number(latency)}, ${verdict(latency, LATENCY)}. Nobody's frames are looked at there, but it passes the hosts' own rules.`,
      `Of VXLAN by hand on hosts that have no rule and track no connection: ${number(throughputBare)} and ${number(latencyBare)}.`,
    ],
    values: trafficValues(ways.map(({ name }, index) => [name, found[index] ?? ours])),
  };
}

async function addressesByHand(lab: BenchLab): Promise<readonly [string, string]> {
  const { subnet } = requireState(lab.layout.stateFile);
  return [`${subnet}.${BY_HAND_LAST[0]}`, `${subnet}.${BY_HAND_LAST[1]}`];
}

async function onWire(lab: BenchLab, pid: number, port: string, signal: AbortSignal): Promise<void> {
  const script = `ip link add ${port} type veth peer name eth0 netns ${pid} && ip link set ${port} master ${WIRE} up`;
  await outputOf(["nsenter", `--net=${netFile(lab.layout, WIRE)}`, "sh", "-ec", script], signal);
}

/** One that does nothing, with the namespace that it is in. */
async function container(
  lab: BenchLab,
  vpc: BenchVpc,
  image: string,
  name: string,
  host: number,
  signal: AbortSignal,
): Promise<Standing & { readonly inVpc: string }> {
  const words = ["run", "--detach", "--name", name, "--vpc", vpc.name, "--host", `h${host}`, "--image", image, "--memory", "32m", "--disk", "32m"];
  const id = (await timedRun(await lab.cc([...words, "sleep", "100000"]), signal)).stdout.trim();
  const status = await lab.cc(["status", name, "--json"]);
  for (let waitedMs = 0; waitedMs < STARTED_MS_MAX; waitedMs += 100) {
    const [seen]: { phase: string; address: string }[] = JSON.parse(await outputOf(status.argv, signal, status.env));
    if (seen?.phase === "running") return { ...(await placesOf(lab, host, id, signal)), inVpc: seen.address };
    await pause(100, undefined, { signal });
  }
  throw new Error(`${name} does not run`);
}

async function placesOf(lab: BenchLab, number: number, id: string, signal: AbortSignal): Promise<Standing> {
  const { pid = 0, address } = await lab.host(number);
  const file = join("/proc", String(pid), "root/run/cc/containers", id, "ctr.pid");
  const container = { pid: Number((await outputOf(["cat", file], signal)).trim()) };
  await outputOf(inside(container, "ip", "link", "show", "eth0"), signal);
  return { container, host: { pid }, address };
}
