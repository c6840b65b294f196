import { setTimeout as pause } from "node:timers/promises";
import { type BenchLab, HOSTS, PeerLogs } from "../bench-lab.ts";
import { number, type Result, verdict } from "../report.ts";
import { percentile } from "../statistics.ts";

/** A turn each: what the one before started has settled by then, so that placement is measured and not the load. */
const TURN_MS = 400;
const BUDGET_P99_MS = 100;
/** The last ones' lines may still be on their way to the log. */
const LOG_MS = 1_000;

/** Detached runs through all peers by turns; the peer that was asked measures from the attempt's beginning. */
export async function benchPlacement(lab: BenchLab, image: string, count: number, signal: AbortSignal): Promise<Result> {
  const logs = new PeerLogs((await lab.status()).hosts);
  const clients = await Promise.all(Array.from({ length: HOSTS }, (_, index) => lab.client(index + 1)));
  try {
    for (let turn = 0; turn < count; turn += 1) {
      const next = pause(TURN_MS, undefined, { signal });
      await clients[turn % HOSTS]?.call("Run", { spec: { image, command: ["true"], removeWhenEnded: true } });
      await next;
    }
  } finally {
    for (const client of clients) client.close();
  }
  await pause(LOG_MS, undefined, { signal });
  const placed = logs.next().filter(({ msg }) => msg === "container placed");
  if (placed.length !== count) throw new Error(`${count} containers were placed, the peers' logs have ${placed.length}`);
  const award = placed.map((line) => Number(line["awardedMs"]));
  const taken = placed.map((line) => Number(line["takenMs"]));
  const row = (name: string, values: readonly number[]): string[] => [name, ...[0.5, 0.9, 0.99, 1].map((part) => number(percentile(values, part)))];
  const p99 = percentile(award, 0.99);
  return {
    part: "placement",
    title: `Placement on three hosts, ${count} containers through three peers (ms)`,
    columns: ["from the request to", "p50", "p90", "p99", "most"],
    rows: [row("the award", award), row("the claim, on disk at holder and requester", taken)],
    notes: [`Budget p99 ${BUDGET_P99_MS} ms to the award: ${number(p99)}, ${verdict(p99, BUDGET_P99_MS)}.`],
    values: { "request to award, ms": award, "request to claim, ms": taken },
  };
}
