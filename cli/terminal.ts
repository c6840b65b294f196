/**
 * What people see. Texts of others (names, reasons, labels) may hold anything: what a terminal would obey is replaced.
 */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export function plainText(text: string): string {
  return text.replace(CONTROL, "?");
}

export type Column<Row> = {
  readonly title: string;
  readonly text: (row: Row) => string;
  readonly align?: "right";
  /** May be cut where the terminal is too narrow; never narrower than this. */
  readonly shrinkTo?: number;
};

const cut = (text: string, width: number): string => (text.length <= width ? text : width <= 1 ? text.slice(0, width) : `${text.slice(0, width - 1)}…`);

/** Lines of a table. `width` undefined: as wide as it needs (a pipe, a file), so that nothing is lost to programs. */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number | undefined): string[] {
  const cells = rows.map((row) => columns.map((column) => plainText(column.text(row)) || "-"));
  const widths = columns.map((column, at) => Math.max(column.title.length, ...cells.map((line) => line[at]?.length ?? 0)));
  if (width !== undefined) {
    const total = (): number => widths.reduce((sum, each) => sum + each, 0) + 2 * (widths.length - 1);
    // The widest of those that may be cut gives first, so that none is cut to nothing beside a wide one.
    for (let over = total() - width; over > 0; over = total() - width) {
      let widest = -1;
      for (const [at, column] of columns.entries()) {
        if (column.shrinkTo === undefined || (widths[at] ?? 0) <= Math.max(column.shrinkTo, column.title.length)) continue;
        if (widest < 0 || (widths[at] ?? 0) > (widths[widest] ?? 0)) widest = at;
      }
      if (widest < 0) break;
      widths[widest] = (widths[widest] ?? 1) - 1;
    }
  }
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, at) => {
        const fit = cut(text, widths[at] ?? text.length);
        return columns[at]?.align === "right" ? fit.padStart(widths[at] ?? 0) : fit.padEnd(widths[at] ?? 0);
      })
      .join("  ")
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...cells.map(line)];
}

/** `name: value` lines with aligned values; empty values are left out. */
export function renderFacts(facts: readonly (readonly [name: string, value: string])[]): string[] {
  const shown = facts.filter(([, value]) => value !== "");
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 1)} ${plainText(value)}`);
}

export function formatTime(ms: number): string {
  return ms > 0 && Number.isFinite(ms) && ms < 8.64e15 ? new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z") : "";
}
