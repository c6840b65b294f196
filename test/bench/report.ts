/** What a part found: a table for people, and every single value for programs. */
export type Result = {
  readonly part: string;
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Sentences below the table. */
  readonly notes?: readonly string[];
  /** All that was measured, by name, in the unit that the name ends with. */
  readonly values: Readonly<Record<string, readonly number[]>>;
};

export function markdown(result: Result): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = `|${result.columns.map((_, index) => (index === 0 ? "---" : "---:")).join("|")}|`;
  const notes = (result.notes ?? []).map((note) => `\n${note}`);
  return [`### ${result.title}`, "", line(result.columns), rule, ...result.rows.map(line), ...notes, ""].join("\n");
}

/** Three digits that say something, no more. */
export function number(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** A budget's row: what was measured, what was promised, and whether it holds. */
export const verdict = (value: number, budget: number): string => (value <= budget ? `holds (≤ ${budget})` : `falls short (≤ ${budget})`);

/** The same where more is better. */
export const verdictLeast = (value: number, budget: number): string => (value >= budget ? `holds (≥ ${budget})` : `falls short (≥ ${budget})`);
