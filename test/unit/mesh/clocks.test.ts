import fc from "fast-check";
import t from "tap";
import { addSample, bestOffsetMs, type ClockSample, clockSample, lowerMedian, medianOffsetMs } from "../../../src/mesh/clocks.ts";

t.test("an offset from one round trip is wrong by half of it at most", async () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e8, max: 1e8 }), fc.integer({ min: 0, max: 500 }), fc.integer({ min: 0, max: 500 }), (offset, there, back) => {
      const sent = 1_000_000;
      const sample = clockSample(sent + there + offset, sent + there + back, there + back, 0);
      return Math.abs(sample.offsetMs - offset) <= (there + back) / 2;
    }),
  );
});

t.test("the shortest round trip wins, old samples go, a clock that was set starts anew", async (t) => {
  let samples: readonly ClockSample[] = [];
  samples = addSample(samples, { offsetMs: 40, roundTripMs: 100, atMs: 0 });
  samples = addSample(samples, { offsetMs: 3, roundTripMs: 2, atMs: 1_000 });
  samples = addSample(samples, { offsetMs: -30, roundTripMs: 80, atMs: 2_000 });
  t.equal(bestOffsetMs(samples), 3);
  t.equal(bestOffsetMs(addSample(samples, { offsetMs: 9, roundTripMs: 50, atMs: 65_000 })), 9);
  t.same(addSample(samples, { offsetMs: 7_000, roundTripMs: 50, atMs: 3_000 }), [{ offsetMs: 7_000, roundTripMs: 50, atMs: 3_000 }]);
  for (let n = 0; n < 50; n += 1) samples = addSample(samples, { offsetMs: n, roundTripMs: 5, atMs: 3_000 + n });
  t.equal(samples.length, 8);
  t.equal(bestOffsetMs([]), undefined);
});

t.test("the lower median", async (t) => {
  t.equal(lowerMedian([5]), 5);
  t.equal(lowerMedian([9, 1]), 1);
  t.equal(lowerMedian([9, 1, 4]), 4);
  t.equal(lowerMedian([4, 3, 2, 1]), 2);
  t.equal(medianOffsetMs([]), 0);
  t.equal(medianOffsetMs([86_400_000, 3]), 3);
});

t.test("a minority of clocks, however wrong, never moves the median beyond the right ones", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -50, max: 50 }), { minLength: 2, maxLength: 9 }),
      fc.array(fc.integer({ min: -1e9, max: 1e9 }), { maxLength: 9 }),
      (right, wrong) => {
        const median = medianOffsetMs([...right, ...wrong.slice(0, right.length - 1)]);
        return median >= -50 && median <= 50;
      },
    ),
  );
});
