import t from "tap";
import { createMeshTime } from "../../../nodes/peer/core/mesh-time.ts";
import type { PeerId } from "../../../src/base/index.ts";
import type { Sighting } from "../../../src/mesh/index.ts";

const sighting = (clockOffsetMs: number | undefined, standing: Sighting["standing"] = "alive"): Sighting => ({
  peer: "k2" as PeerId,
  standing,
  sinceMs: 0,
  heardAtMs: 0,
  seenBy: [],
  clockOffsetMs,
  startNumber: 1,
  incarnation: 0,
});

function scene() {
  const now = { wallMs: 1_000_000, monotonicMs: 50 };
  const seen = { all: [] as Sighting[], offsetMs: 0 };
  const clock = { nowMs: () => now.wallMs, monotonicMs: () => now.monotonicMs, after: () => () => undefined };
  const time = createMeshTime(clock, { all: () => seen.all, medianOffsetMs: () => seen.offsetMs });
  const pass = (ms: number): void => {
    now.wallMs += ms;
    now.monotonicMs += ms;
  };
  return { now, seen, time, pass };
}

t.test("a host alone goes by its own clock", async (t) => {
  const { time, pass } = scene();
  pass(500);
  t.equal(time.nowMs(), 1_000_500);
  t.equal(time.startedAtMs(), 1_000_000);
  t.ok(time.isSure());
});

t.test("with neighbours it is sure once a clock of theirs was read", async (t) => {
  const { time, seen } = scene();
  seen.all = [sighting(undefined, "suspect")];
  t.notOk(time.isSure());
  seen.all = [sighting(-86_400_000)];
  seen.offsetMs = -86_400_000;
  t.ok(time.isSure());
  t.equal(time.nowMs(), 1_000_000 - 86_400_000);
});

t.test("a clock that was set, or a machine that slept, is not believed for a moment; the start moves with the clock", async (t) => {
  const { time, seen, now, pass } = scene();
  seen.all = [sighting(0)];
  now.wallMs += 86_400_000;
  t.notOk(time.isSure());
  pass(2_900);
  t.notOk(time.isSure());
  pass(200);
  t.ok(time.isSure());
  t.equal(time.startedAtMs(), 1_000_000 + 86_400_000, "a clock set forward does not make requests of before the start fresh");
});

t.test("a request waits until it is sure, and not for ever", async (t) => {
  const now = { ms: 0 };
  const seen = { all: [sighting(undefined, "suspect")] };
  const clock = {
    nowMs: () => now.ms,
    monotonicMs: () => now.ms,
    after: (delayMs: number, fire: () => void) => {
      // The clock's own look, once a second, is not waited for.
      if (delayMs < 1_000) {
        queueMicrotask(() => {
          now.ms += delayMs;
          fire();
        });
      }
      return () => undefined;
    },
  };
  const time = createMeshTime(clock, { all: () => (now.ms < 400 ? seen.all : [sighting(0)]), medianOffsetMs: () => 0 });
  await time.untilSure();
  t.equal(now.ms, 400);
  const never = createMeshTime(clock, { all: () => seen.all, medianOffsetMs: () => 0 });
  await never.untilSure();
  t.ok(now.ms >= 3_900 && now.ms < 4_000);
});
