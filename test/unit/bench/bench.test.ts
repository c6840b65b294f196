import t from "tap";
import { PARTS, parseArguments } from "../../bench/arguments.ts";
import { Cleanup } from "../../bench/cleanup.ts";
import { markdown, number } from "../../bench/report.ts";
import { median, percentile, turnOrder } from "../../bench/statistics.ts";

t.test("medians and percentiles are of what was measured", async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([10, 2]), 6);
  t.equal(percentile([5, 1, 4, 2, 3], 0.5), 3);
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
  t.equal(percentile(hundred, 0.99), 99);
  t.equal(percentile(hundred, 1), 100);
  t.throws(() => median([]), RangeError);
  t.throws(() => percentile([], 0.5), RangeError);
});

t.test("by turns, everybody is first once", async (t) => {
  t.same(
    [0, 1, 2].map((turn) => turnOrder(3, turn)),
    [
      [0, 1, 2],
      [1, 2, 0],
      [2, 0, 1],
    ],
  );
});

t.test("arguments", async (t) => {
  t.match(parseArguments([]), { parts: PARTS, runs: 15, minutes: 5, placements: 200, records: 1_000 });
  t.match(parseArguments(["run", "--runs", "3", "--minutes", "0.5"]), { parts: ["run"], runs: 3, minutes: 0.5 });
  t.equal(parseArguments(["run", "--help"]), undefined);
  for (const words of [["fast"], ["--runs", "0"], ["--runs", "1.5"], ["--runs"], ["--records", "x"]])
    t.throws(() => parseArguments(words), TypeError, words.join(" "));
});

t.test("tables", async (t) => {
  const text = markdown({ part: "x", title: "T", columns: ["a", "b"], rows: [["p|q", "1"]], notes: ["N."], values: {} });
  t.equal(text, "### T\n\n| a | b |\n|---|---:|\n| p\\|q | 1 |\n\nN.\n");
  t.same([1234.5, 45.67, 1.234].map(number), ["1235", "45.7", "1.23"]);
});

t.test("everything is undone, the last first, once, also after a failure", async (t) => {
  const cleanup = new Cleanup();
  const done: string[] = [];
  const said: string[] = [];
  const exitCode = process.exitCode;
  cleanup.add("first", async () => void done.push("first"));
  cleanup.add("second", async () => Promise.reject(new Error("busy")));
  cleanup.add("third", async () => void done.push("third"));
  await Promise.all([cleanup.run((line) => said.push(line)), cleanup.run((line) => said.push(line))]);
  t.same(done, ["third", "first"]);
  t.same(said, ["second could not be undone: busy"]);
  t.equal(process.exitCode, 1);
  process.exitCode = exitCode;
});
