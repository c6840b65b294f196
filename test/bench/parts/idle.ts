import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { type BenchLab, HOSTS } from "../bench-lab.ts";
import { number, type Result, verdict } from "../report.ts";

/** Linux's user-visible clock tick is 1/100 s on every architecture that we run on. */
const TICKS_PER_SECOND = 100;
/** After the start everything is still warm. */
const CALM_MS = 10_000;
const RSS_BUDGET_MB = 150;
const CPU_BUDGET_PERCENT = 1;

type Usage = { readonly ticks: number; readonly rssBytes: number; readonly heldBytes: number };

/** What a peer of three costs while nobody asks it anything: of the peer's process; its kept shells are named beside it. */
export async function benchIdle(lab: BenchLab, minutes: number, signal: AbortSignal): Promise<Result> {
  const pids: number[] = [];
  for (let host = 1; host <= HOSTS; host += 1) {
    const { pid } = await lab.host(host);
    if (pid === undefined) throw new Error(`the peer of h${host} does not run`);
    pids.push(pid);
  }
  await pause(CALM_MS, undefined, { signal });
  const fromMs = performance.now();
  const before = pids.map(usageOf);
  await pause(minutes * 60_000, undefined, { signal });
  const seconds = (performance.now() - fromMs) / 1_000;
  const after = pids.map(usageOf);
  const rssMb = after.map(({ rssBytes }) => rssBytes / 1e6);
  const cpu = after.map(({ ticks }, index) => ((ticks - (before[index]?.ticks ?? 0)) / TICKS_PER_SECOND / seconds) * 100);
  const most = { rss: Math.max(...rssMb), cpu: Math.max(...cpu) };
  return {
    part: "idle",
    title: `Idle peer of three, after ${number(minutes)} minutes`,
    columns: ["peer", "RSS, MB", "of it not shared, MB", "% of a core"],
    rows: after.map(({ heldBytes }, index) => [`h${index + 1}`, number(rssMb[index] ?? 0), number(heldBytes / 1e6), number(cpu[index] ?? 0)]),
    notes: [`Budgets ${RSS_BUDGET_MB} MB: ${verdict(most.rss, RSS_BUDGET_MB)}; ${CPU_BUDGET_PERCENT} % of a core: ${verdict(most.cpu, CPU_BUDGET_PERCENT)}.`],
    values: { "rss, MB": rssMb, "cpu, %": cpu },
  };
}

function usageOf(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(rollup)?.[1] ?? Number.NaN);
  return { ticks: Number(fields[11]) + Number(fields[12]), rssBytes: kib("Rss") * 1024, heldBytes: (kib("Private_Clean") + kib("Private_Dirty")) * 1024 };
}
