import type { BidAnswer } from "../src/api/client-messages.ts";
import { type Column, renderTable } from "./terminal.ts";

const number = (value: number): string => (Number.isFinite(value) ? String(Math.round(value * 1000) / 1000) : "-");

/** Every host's answer: the chosen one first, then by price, then those that refused with their reason. */
export function renderAnswers(answers: readonly BidAnswer[], width: number | undefined): string[] {
  const order = (answer: BidAnswer): number => (answer.chosen ? 0 : answer.kind === "bid" ? 1 : 2);
  const sorted = [...answers].sort((a, b) => order(a) - order(b) || a.price - b.price || (a.host < b.host ? -1 : 1));
  const terms = [...new Set(sorted.flatMap((answer) => Object.keys(answer.terms)))];
  const columns: Column<BidAnswer>[] = [
    { title: "", text: (row) => (row.chosen ? "*" : " ") },
    { title: "HOST", text: (row) => row.name || row.host, shrinkTo: 8 },
    { title: "ZONE", text: (row) => row.zone },
    { title: "ANSWER", text: (row) => row.kind },
    { title: "PRICE", text: (row) => (row.kind === "bid" ? number(row.price) : ""), align: "right" },
    ...terms.map(
      (term): Column<BidAnswer> => ({
        title: term.toUpperCase(),
        text: (row) => (Object.hasOwn(row.terms, term) ? number(row.terms[term] ?? 0) : ""),
        align: "right",
      }),
    ),
    { title: "REASON", text: (row) => row.reason, shrinkTo: 12 },
  ];
  return renderTable(columns, sorted, width);
}
