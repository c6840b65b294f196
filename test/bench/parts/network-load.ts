import { setTimeout as pause } from "node:timers/promises";
import type { BenchLab } from "../bench-lab.ts";
import type { Pair } from "../network/by-hand.ts";
import { inside, type Place } from "../network/places.ts";
import { type BenchVpc, measureOnce, noTraffic, STREAMS, throughputRatios, trafficCells, trafficValues } from "../network/traffic-report.ts";
import { number, type Result, verdictLeast } from "../report.ts";
import { median, turnOrder } from "../statistics.ts";
import { outputOf, timedRun } from "../timed-run.ts";

const STEPS = [0, 100, 1_000] as const;
/** A container may publish 128. */
const PORTS_A_CONTAINER = 125;
const FIRST_PORT = 20_000;
const AT_ONCE = 6;
const FOLLOWED_MS_MAX = 60_000;
const BUDGET = 0.95;

export type LoadScene = {
  readonly lab: BenchLab;
  readonly vpc: BenchVpc;
  readonly image: string;
  readonly ours: Pair;
  readonly byHand: Pair;
  readonly turns: number;
};

/** Traffic while the VPC has rules, and the sender's host publishes ports: all made as users make them. VXLAN by hand runs beside each. */
export async function benchRuleLoad(scene: LoadScene, signal: AbortSignal): Promise<Result> {
  const { lab, vpc, image, ours, byHand, turns } = scene;
  const steps = STEPS.map((count) => ({ count, ours: noTraffic(), hand: noTraffic() }));
  let had = 0;
  const helpers: string[] = [];
  for (const step of steps) {
    helpers.push(...(await publish(lab, vpc, image, had, step.count, signal)));
    await makeRules(lab, vpc, had, step.count, signal);
    await followed(scene, step.count, signal);
    had = step.count;
    for (let turn = 0; turn < turns; turn += 1) {
      for (const index of turnOrder(2, turn)) await measureOnce(index === 0 ? ours : byHand, index === 0 ? step.ours : step.hand, signal);
    }
  }
  await timedRun(await lab.cc(["rm", "--force", ...helpers]), signal);
  // Each against what was made by hand in the same minutes, and that against the same without rules.
  const without = steps[0];
  const kept = steps.map(({ ours: traffic, hand }) => {
    const before = throughputRatios(without?.ours ?? traffic, without?.hand ?? hand);
    return Math.min(...throughputRatios(traffic, hand).map((ratio, at) => ratio / (before[at] ?? Number.NaN)));
  });
  const least = kept.at(-1) ?? Number.NaN;
  return {
    part: "network",
    title: `The same with published ports and firewall rules, ${turns} interleaved runs (in brackets: of VXLAN by hand beside it)`,
    columns: [
      "ports and rules",
      "TCP, Gbit/s",
      `TCP, ${STREAMS} streams`,
      "UDP of 64 bytes, thousands a second",
      "there and back, µs, p50",
      "p99",
      "kept of none, least",
    ],
    rows: steps.map(({ count, ours: traffic, hand }, at) => [`${count} of each`, ...trafficCells(traffic, hand), number(kept[at] ?? Number.NaN)]),
    notes: [
      `With ${had} of each ${number(least)} is kept, ${verdictLeast(least, BUDGET)}; of single TCP connections ${number(median(steps.at(-1)?.ours.one ?? []) / median(without?.ours.one ?? []))} by itself.`,
    ],
    values: trafficValues(
      steps.flatMap(({ count, ours: traffic, hand }) => [[`${count} rules`, traffic] as const, [`${count} rules, VXLAN by hand`, hand] as const]),
    ),
  };
}

async function publish(lab: BenchLab, vpc: BenchVpc, image: string, from: number, to: number, signal: AbortSignal): Promise<readonly string[]> {
  const names: string[] = [];
  for (let at = from; at < to; at += PORTS_A_CONTAINER) {
    const name = `ports-${at}`;
    const count = Math.min(PORTS_A_CONTAINER, to - at);
    const ports = Array.from({ length: count }, (_, index) => ["--publish", `${FIRST_PORT + at + index}:80`]).flat();
    const words = ["run", "--detach", "--name", name, "--vpc", vpc.name, "--host", "h1", "--image", image, "--memory", "16m", "--disk", "16m", ...ports];
    await timedRun(await lab.cc([...words, "sleep", "100000"]), signal);
    names.push(name);
  }
  return names;
}

async function makeRules(lab: BenchLab, vpc: BenchVpc, from: number, to: number, signal: AbortSignal): Promise<void> {
  let next = from;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async (_, lane) => {
      const client = await lab.client((lane % 3) + 1);
      try {
        while (next < to) {
          signal.throwIfAborted();
          const at = next;
          next += 1;
          const rule = {
            vpc: vpc.id,
            action: "deny",
            direction: "in",
            protocol: "tcp",
            ports: [String(1_000 + at)],
            target: {},
            cidr: cidrOf(at),
            labels: {},
            log: false,
          };
          await client.call("CreateFirewallRule", { rule });
        }
      } finally {
        client.close();
      }
    }),
  );
}

/** Of a range for documentation: nobody's. */
const cidrOf = (at: number): string => `198.18.${at >> 8}.${at & 255}/32`;

/** The kernels of both hosts hold them. */
async function followed({ lab, ours }: LoadScene, count: number, signal: AbortSignal): Promise<void> {
  const { pid } = await lab.host(1);
  if (pid === undefined) throw new Error("the peer of host 1 does not run");
  const looks: readonly (readonly [Place, readonly string[], RegExp])[] = [
    [ours.from, ["list", "table", "inet", "cc"], /198\.18\.\d+\.\d+/g],
    [ours.to, ["list", "table", "inet", "cc"], /198\.18\.\d+\.\d+/g],
    [{ pid }, ["list", "map", "inet", "cc", "published"], /tcp \. \d+ :/g],
  ];
  for (let waitedMs = 0; waitedMs < FOLLOWED_MS_MAX; waitedMs += 250) {
    const counts = await Promise.all(
      looks.map(async ([place, words, pattern]) => {
        // No rule: no table.
        const listed = await outputOf(inside(place, "sh", "-c", `nft ${words.join(" ")} 2>/dev/null || :`), signal);
        return listed.match(pattern)?.length ?? 0;
      }),
    );
    if (counts.every((found) => found === count)) return;
    await pause(250, undefined, { signal });
  }
  throw new Error(`${count} ports and rules are not in the hosts' kernels after ${FOLLOWED_MS_MAX / 1_000} s`);
}
