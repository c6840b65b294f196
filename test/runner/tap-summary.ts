/** What one test file's TAP said. `complete` is false where the closing counts are missing: the file crashed or was killed. */
export type TapSummary = {
  readonly complete: boolean;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly SkippedTest[];
  readonly skippedCount: number;
};
export type SkippedTest = { readonly name: string; readonly reason: string };

/** How a file ended: `exitCode` is null when a signal ended it. */
export type FileEnd = { readonly exitCode: number | null; readonly timedOut: boolean; readonly summary: TapSummary };
export type Verdict = { readonly passed: number; readonly failed: number; readonly skipped: number; readonly problem: string | undefined };

const COUNTS = /^# \{ (?<fields>[^}]*) \}$/;
const SKIP = /^\s*ok \d+(?: - (?<name>.*?))?(?: # time=\S+)? # (?:SKIP|TOD[O])\b ?(?<reason>.*)$/i;

/** Reads the output of `node some.test.ts`: tap closes it with `# { total: 5, pass: 3, fail: 1, skip: 1 }`. */
export function summariseTap(text: string): TapSummary {
  const skipped: SkippedTest[] = [];
  let counts: ReadonlyMap<string, number> | undefined;
  for (const line of text.split("\n")) {
    const skip = SKIP.exec(line)?.groups;
    if (skip !== undefined) skipped.push({ name: skip["name"] ?? "", reason: skip["reason"] === "" ? "no reason given" : (skip["reason"] ?? "") });
    const fields = COUNTS.exec(line)?.groups?.["fields"];
    if (fields !== undefined) counts = parseCounts(fields);
  }
  if (counts === undefined) return { complete: false, passed: 0, failed: 0, skipped, skippedCount: skipped.length };
  const count = (name: string): number => counts.get(name) ?? 0;
  return { complete: true, passed: count("pass"), failed: count("fail"), skipped, skippedCount: count("skip") + count("todo") };
}

function parseCounts(fields: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const field of fields.split(",")) {
    const [name, value] = field.split(":").map((part) => part.trim());
    if (name !== undefined && value !== undefined && /^\d+$/.test(value)) counts.set(name, Number(value));
  }
  return counts;
}

/** A file counts as failed also when it crashed, was killed, asserted nothing, or ended badly after its last assertion. */
export function judgeFile(end: FileEnd): Verdict {
  const { summary } = end;
  const counts = { passed: summary.passed, skipped: summary.skippedCount };
  const broken = (problem: string): Verdict => ({ ...counts, failed: summary.failed + 1, problem });
  if (end.timedOut) return broken("took too long and was killed");
  if (!summary.complete) return broken(end.exitCode === null ? "was ended by a signal" : `ended with ${end.exitCode} before its closing counts`);
  if (summary.passed + summary.failed + summary.skippedCount === 0) return broken("asserted nothing");
  if (summary.failed > 0) return { ...counts, failed: summary.failed, problem: `${summary.failed} failed` };
  if (end.exitCode !== 0) return broken(`passed its assertions and then ended with ${end.exitCode ?? "a signal"}`);
  return { ...counts, failed: 0, problem: undefined };
}

/** The part of a failed file's output that says why: from the first failure on, else its end. */
export function failureExcerpt(text: string, linesMax: number): string {
  const lines = text.trimEnd().split("\n");
  const first = lines.findIndex((line) => /^\s*not ok /.test(line));
  return (first < 0 ? lines.slice(-linesMax) : lines.slice(first, first + linesMax)).join("\n");
}

/** The line that a whole run ends with. */
export function closingLine(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
