import fc from "fast-check";
import t from "tap";
import { backoffMs, FRESH_MEMORY, planContainer, planStop, planSupervision, runOf, tokenOf } from "../../../src/containers/index.ts";
import { desire } from "./fakes.ts";

const run = { startedAtMs: 0, endedAtMs: 1_000, shortRuns: 0 };
const exit = (exitCode: number) => ({ exitCode, oom: false, endedAtMs: 1_000 });

t.test("who runs again", async (t) => {
  for (const [policy, code, again] of [
    ["no", 1, false],
    ["on-failure", 0, false],
    ["on-failure", 1, true],
    ["on-failure", undefined, true],
    ["always", 0, true],
    ["no", undefined, false],
  ] as const) {
    t.equal(planSupervision({ ...run, policy, exit: code === undefined ? undefined : exit(code) }).kind, again ? "restart" : "stay-ended", `${policy} ${code}`);
  }
});

t.test("waits double to a minute, and begin anew after a steady run", async (t) => {
  t.same([0, 1, 2, 9, 10, 1_000_000].map(backoffMs), [100, 200, 400, 51_200, 60_000, 60_000]);
  t.same(planSupervision({ policy: "always", exit: exit(1), startedAtMs: 0, endedAtMs: 9_999, shortRuns: 3 }), {
    kind: "restart",
    afterMs: 800,
    shortRuns: 4,
  });
  t.same(planSupervision({ policy: "always", exit: exit(1), startedAtMs: 0, endedAtMs: 10_000, shortRuns: 3 }), {
    kind: "restart",
    afterMs: 100,
    shortRuns: 1,
  });
});

t.test("stopping", async (t) => {
  const state = { askedAtMs: undefined, killedAtMs: undefined, timeoutMs: 500 };
  t.same(planStop(state, 7), { kind: "signal" });
  t.same(planStop({ ...state, askedAtMs: 7 }, 8), { kind: "wait", forMs: 499 });
  t.same(planStop({ ...state, askedAtMs: 7 }, 507), { kind: "kill" });
  t.same(planStop({ ...state, askedAtMs: 7, killedAtMs: 507 }, 508), { kind: "wait", forMs: 4_999 });
});

t.test("the count of restarts travels in the token", async (t) => {
  t.same(runOf(tokenOf("abc", 0)), { token: "abc", restarts: 0 });
  t.same(runOf(tokenOf("abc", 12)), { token: "abc", restarts: 12 });
});

t.test("no plan starts a container that is to be stopped or removed, nor one that runs", async (t) => {
  const found = fc.oneof(
    fc.constantFrom({ kind: "absent" } as const, { kind: "half" } as const),
    fc.record({ kind: fc.constant("running" as const), pid: fc.nat(), startedAtMs: fc.nat(), runToken: fc.constantFrom("a", "b", "a~1") }),
    fc.record({
      kind: fc.constant("ended" as const),
      exit: fc.constantFrom(undefined, exit(0), exit(1)),
      startedAtMs: fc.nat(),
      runToken: fc.constantFrom("a", "b", "a~1"),
    }),
  );
  const wanted = fc.constantFrom(
    { kind: "running", runToken: "a" } as const,
    { kind: "stopped", timeoutMs: undefined } as const,
    { kind: "removed", as: "gone", timeoutMs: 100 } as const,
  );
  const more = fc.record({ restart: fc.constantFrom("no", "on-failure", "always"), removeWhenEnded: fc.boolean() });
  fc.assert(
    fc.property(found, wanted, more, fc.boolean(), fc.nat(), (found, wanted, more, settled, nowMs) => {
      const step = planContainer({
        desired: desire(wanted, more),
        found,
        memory: { ...FRESH_MEMORY, settled },
        last: undefined,
        readers: 0,
        nowMs,
        monotonicMs: nowMs,
      });
      if (step.kind !== "start") return true;
      // A used token is never handed out again.
      return wanted.kind === "running" && found.kind !== "running" && (found.kind !== "ended" || found.runToken !== step.runToken);
    }),
  );
  t.pass("holds");
});

t.test("what a start cut short has left is settled once, not again and again", async (t) => {
  const input = {
    desired: desire({ kind: "stopped", timeoutMs: undefined }),
    found: { kind: "half" } as const,
    last: undefined,
    readers: 0,
    nowMs: 0,
    monotonicMs: 0,
  };
  t.same(planContainer({ ...input, memory: FRESH_MEMORY }), { kind: "settle" });
  t.match(planContainer({ ...input, memory: { ...FRESH_MEMORY, settled: true } }), { kind: "wait" });
});

t.test("a wall clock that is set back by an hour stretches no wait", async (t) => {
  const HOUR_MS = 3_600_000;
  const found = { kind: "ended", exit: exit(1), startedAtMs: 0, runToken: "a" } as const;
  const input = { found, last: undefined, readers: 0, nowMs: 1_000 - HOUR_MS };
  const memory = { ...FRESH_MEMORY, settled: true, idleSinceMs: 7_000 };
  const again = { ...input, desired: desire({ kind: "running", runToken: "a" }, { restart: "always" }) };
  t.same(planContainer({ ...again, memory, monotonicMs: 7_040 }), { kind: "wait", why: "backoff", forMs: 60 });
  t.match(planContainer({ ...again, memory, monotonicMs: 7_100 }), { kind: "start", runToken: "a~1" });
  const removes = { ...input, desired: desire({ kind: "running", runToken: "a" }, { removeWhenEnded: true }) };
  t.match(planContainer({ ...removes, memory, monotonicMs: 8_000 }), { kind: "wait", why: "ended", forMs: 4_000 });
  t.match(planContainer({ ...removes, memory, monotonicMs: 12_000 }), { kind: "remove", as: "gone" });
  // A peer that has just come back knows of the end by the wall clock alone.
  t.match(planContainer({ ...again, nowMs: 1_090, memory: { ...memory, idleSinceMs: 5 }, monotonicMs: 5 }), { kind: "wait", forMs: 10 });
  t.match(planContainer({ ...again, nowMs: 1_100, memory: { ...memory, idleSinceMs: 5 }, monotonicMs: 5 }), { kind: "start" });
});
