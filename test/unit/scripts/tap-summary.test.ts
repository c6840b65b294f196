import t from "tap";
import { closingLine, failureExcerpt, judgeFile, summariseTap } from "../../runner/tap-summary.ts";

const good =
  "TAP version 14\nok 1 - one # time=1ms\n\nok 2 - two # SKIP no network here\nok 3 # time=2ms # SKIP\n1..3\n# { total: 3, pass: 1, skip: 2 }\n# time=5ms\n";

t.test("the closing counts and the reasons of skips are read", async (t) => {
  const summary = summariseTap(good);
  t.same(summary, {
    complete: true,
    passed: 1,
    failed: 0,
    skippedCount: 2,
    skipped: [
      { name: "two", reason: "no network here" },
      { name: "", reason: "no reason given" },
    ],
  });
  t.same(judgeFile({ exitCode: 0, timedOut: false, summary }), { passed: 1, failed: 0, skipped: 2, problem: undefined });
});

t.test("what did not end well is a failure, whatever it counted", async (t) => {
  const summary = summariseTap(good);
  t.equal(judgeFile({ exitCode: 1, timedOut: false, summary }).failed, 1, "exit code after good counts");
  t.equal(judgeFile({ exitCode: null, timedOut: false, summary }).failed, 1, "a signal after good counts");
  t.equal(judgeFile({ exitCode: 0, timedOut: true, summary }).failed, 1, "time limit");
  const crashed = summariseTap("TAP version 14\nok 1 - one\nError: boom\n");
  t.notOk(crashed.complete);
  t.equal(judgeFile({ exitCode: 0, timedOut: false, summary: crashed }).failed, 1, "no closing counts, even with exit code 0");
  const empty = summariseTap("TAP version 14\n1..0\n# { total: 0, pass: 0 }\n");
  t.match(judgeFile({ exitCode: 0, timedOut: false, summary: empty }), { failed: 1, problem: "asserted nothing" });
  const failing = summariseTap("# { total: 5, pass: 3, fail: 2 }");
  t.same(judgeFile({ exitCode: 1, timedOut: false, summary: failing }), { passed: 3, failed: 2, skipped: 0, problem: "2 failed" });
});

t.test("an excerpt begins at the first failure, and is bounded", async (t) => {
  t.equal(failureExcerpt("ok 1\n    not ok 1 - inner\n      ---\nmore\nand more\n", 3), "    not ok 1 - inner\n      ---\nmore");
  t.equal(failureExcerpt("a\nb\nc\n", 2), "b\nc", "without one it is the end");
});

t.test("the closing line has one form", async (t) => {
  t.equal(closingLine(12, 0, 0), "12 passed, 0 failed");
  t.equal(closingLine(12, 1, 3), "12 passed, 1 failed, 3 skipped");
});
