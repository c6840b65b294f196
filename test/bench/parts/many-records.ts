import { setTimeout as pause } from "node:timers/promises";
import type { CloudClient } from "../../../src/api/client.ts";
import { type BenchLab, HOSTS } from "../bench-lab.ts";
import { number, type Result } from "../report.ts";
import { median, turnOrder } from "../statistics.ts";
import { type Command, timedRun } from "../timed-run.ts";

const AT_ONCE = 6;
const SETTLE_MS = 50;
/** Until every container has said how it ended. */
const SETTLED_MS_MAX = 300_000;

/**
 * `cc ps` where there are many. The records are real ones, asked for, placed, claimed and gossiped as always, of
 * containers whose image the registry does not have: each fails at once, so that nothing runs.
 */
export async function benchManyRecords(lab: BenchLab, count: number, runs: number, signal: AbortSignal): Promise<Result> {
  const registry = (await lab.status()).registry;
  const before = await ps(lab, signal);
  const few = await measured(lab, runs, signal);
  const clients = await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => lab.client((index % HOSTS) + 1)));
  const startedMs = performance.now();
  try {
    await Promise.all(clients.map((client, index) => askFor(client, index, count, `${registry}/bench/absent:1`, signal)));
  } finally {
    for (const client of clients) client.close();
  }
  const madeS = (performance.now() - startedMs) / 1_000;
  for (;;) {
    const rows = await ps(lab, signal);
    if (rows.length >= before.length + count && rows.every(({ phase }) => phase === "failed" || phase === "ended")) break;
    if (performance.now() - startedMs > SETTLED_MS_MAX) throw new Error(`of ${count} containers ${rows.length} are listed, not all of them settled`);
    await pause(1_000, undefined, { signal });
  }
  const many = await measured(lab, runs, signal);
  const row = (name: string, values: Measured): string[] => [
    name,
    number(median(values.ps)),
    number(median(values.psJson)),
    number(median(values.ps) / median(values.node)),
  ];
  return {
    part: "ps1000",
    title: `\`cc ps\` with many containers' records, ${runs} interleaved runs (ms)`,
    columns: ["records", "cc ps", "cc ps --json", "cc ps to node -e 0"],
    rows: [row(`${before.length} containers`, few), row(`${before.length + count} containers`, many)],
    notes: [`The ${count} records were asked for, placed and claimed in ${number(madeS)} s.`],
    values: { "cc ps, few, ms": few.ps, "cc ps, many, ms": many.ps, "cc ps --json, many, ms": many.psJson, "node -e 0, ms": many.node },
  };
}

async function askFor(client: CloudClient, lane: number, count: number, image: string, signal: AbortSignal): Promise<void> {
  for (let index = lane; index < count; index += AT_ONCE) {
    signal.throwIfAborted();
    await client.call("Run", { spec: { image, name: `bench-${index}`, command: ["true"], memoryBytes: 16 * 1024 ** 2, diskBytes: 16 * 1024 ** 2 } });
  }
}

async function ps(lab: BenchLab, signal: AbortSignal): Promise<readonly { readonly phase: string }[]> {
  const command = await lab.cc(["ps", "--all", "--json"]);
  return JSON.parse((await timedRun(command, signal)).stdout);
}

type Measured = { readonly node: number[]; readonly ps: number[]; readonly psJson: number[] };

async function measured(lab: BenchLab, runs: number, signal: AbortSignal): Promise<Measured> {
  const measuredMs: Measured = { node: [], ps: [], psJson: [] };
  const lanes: readonly (readonly [Command, number[]])[] = [
    [{ argv: [process.execPath, "-e", "0"] }, measuredMs.node],
    [await lab.cc(["ps", "--all"]), measuredMs.ps],
    [await lab.cc(["ps", "--all", "--json"]), measuredMs.psJson],
  ];
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(lanes.length, turn)) {
      const [command, values] = lanes[index] ?? [];
      await pause(SETTLE_MS, undefined, { signal });
      if (command !== undefined) values?.push((await timedRun(command, signal)).exitMs);
    }
  }
  return measuredMs;
}
