import type { Cleanup } from "../cleanup.ts";
import type { RulesReport } from "../network/rules-program.ts";
import { number, type Result } from "../report.ts";
import { median } from "../statistics.ts";
import { inOwnNamespaces } from "./network-attach.ts";

const SIZES = [10, 1_000, 10_000];

/** Rulesets of several sizes put into the kernel: whole, by one entry more, and looked at. */
export async function benchRulesets(turns: number, cleanup: Cleanup, signal: AbortSignal): Promise<Result> {
  const report = await inOwnNamespaces<RulesReport>("rules-program.ts", [turns, ...SIZES], cleanup, signal);
  const cell = (of: readonly number[]): string => number(median(of));
  return {
    part: "network",
    title: `Rulesets of a host with one VPC and so many published ports, medians of ${turns} (ms)`,
    columns: ["entries", "all of them, by a peer that begins", "one entry more", "look whether somebody changed any"],
    rows: report.map(({ entries, full, increment, check }) => [String(entries), cell(full), cell(increment), cell(check)]),
    values: Object.fromEntries(
      report.flatMap(({ entries, full, increment, check }) => [
        [`${entries}, full, ms`, full],
        [`${entries}, one more, ms`, increment],
        [`${entries}, check, ms`, check],
      ]),
    ),
  };
}
