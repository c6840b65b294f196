import { setTimeout as pause } from "node:timers/promises";
import type { BenchLab } from "../bench-lab.ts";
import { number, type Result, verdict } from "../report.ts";
import { median, turnOrder } from "../statistics.ts";
import { type Command, timedRun } from "../timed-run.ts";

const SETTLE_MS = 50;

/** The command line's own cost, in units of a Node that does nothing. */
export async function benchStartup(lab: BenchLab, runs: number, signal: AbortSignal): Promise<Result> {
  const contestants: readonly { readonly name: string; readonly command: Command; readonly budget?: number }[] = [
    { name: "node -e 0", command: { argv: [process.execPath, "-e", "0"] } },
    { name: "cc --version", command: await lab.cc(["--version"]), budget: 2.4 },
    { name: "cc ps", command: await lab.cc(["ps"]), budget: 3.2 },
  ];
  const tookMs = contestants.map((): number[] => []);
  for (const { command } of contestants) await timedRun(command, signal);
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(contestants.length, turn)) {
      await pause(SETTLE_MS, undefined, { signal });
      const contestant = contestants[index];
      if (contestant !== undefined) tookMs[index]?.push((await timedRun(contestant.command, signal)).exitMs);
    }
  }
  const base = median(tookMs[0] ?? []);
  return {
    part: "startup",
    title: `Command line, start to exit, ${runs} interleaved runs (ms)`,
    columns: ["command", "median", "least", "ratio to node -e 0", "budget"],
    rows: contestants.map(({ name, budget }, index) => {
      const values = tookMs[index] ?? [];
      const ratio = median(values) / base;
      return [name, number(median(values)), number(Math.min(...values)), number(ratio), budget === undefined ? "" : verdict(ratio, budget)];
    }),
    values: Object.fromEntries(contestants.map(({ name }, index) => [`${name}, ms`, tookMs[index] ?? []])),
  };
}
