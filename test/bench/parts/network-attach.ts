import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TOP } from "../bench-lab.ts";
import type { Cleanup } from "../cleanup.ts";
import type { Attached, AttachReport } from "../network/attach-program.ts";
import { number, type Result, verdict } from "../report.ts";
import { median } from "../statistics.ts";
import { outputOf } from "../timed-run.ts";

const FIRST = 10;
const COUNT = 200;
/** The median of so many stands for one. */
const AROUND = 20;
const BUDGET_MS = 25;

/** Runs a program of the bench in network and mount namespaces of its own; gives what it printed. */
export async function inOwnNamespaces<T>(program: string, words: readonly (string | number)[], cleanup: Cleanup, signal: AbortSignal): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "cc-bench-"));
  cleanup.add(folder, async () => rmSync(folder, { recursive: true, force: true }));
  const argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--propagation", "private", process.execPath];
  return JSON.parse(await outputOf([...argv, join(TOP, "test/bench/network", program), folder, ...words.map(String)], signal));
}

/** What a container waits for when it joins its VPC, by the real drivers and without the rest of its start: devices, addresses and rules. */
export async function benchAttach(cleanup: Cleanup, signal: AbortSignal): Promise<Result> {
  const report = await inOwnNamespaces<AttachReport>("attach-program.ts", [FIRST, COUNT], cleanup, signal);
  const groups: readonly (readonly [string, readonly Attached[]])[] = [
    ["the first container of a host (its VPC is made)", report.first],
    [`containers 2 to ${AROUND + 1} of a VPC`, report.more.slice(1, AROUND + 1)],
    [`containers ${COUNT - AROUND + 1} to ${COUNT}`, report.more.slice(-AROUND)],
    ["one more, with a published port", report.published],
    ["the same devices by `ip -batch` and `bridge -batch`, by hand, no rules", report.byHand],
  ];
  const hand = median(report.byHand.map(({ ms }) => ms));
  const all = median(report.more.map(({ ms }) => ms));
  return {
    part: "network",
    title: "Attaching a container to its VPC (ms)",
    columns: ["which", "median", "least", "processor time, mean", "ratio to one by hand"],
    rows: groups.map(([name, of]) => {
      const ms = of.map((one) => one.ms);
      const cpuMs = of.reduce((sum, one) => sum + one.cpuMs, 0) / of.length;
      return [name, number(median(ms)), number(Math.min(...ms)), number(cpuMs), number(median(ms) / hand)];
    }),
    notes: [`Budget: of ${COUNT} containers in one VPC the median is ${number(all)} ms, ${verdict(all, BUDGET_MS)}.`],
    values: Object.fromEntries(
      Object.entries(report).flatMap(([name, of]) => [
        [`${name}, ms`, of.map(({ ms }) => ms)],
        [`${name}, processor, ms`, of.map(({ cpuMs }) => cpuMs)],
      ]),
    ),
  };
}
