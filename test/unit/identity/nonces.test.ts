import fc from "fast-check";
import t from "tap";
import { type Act, NonceMemory } from "../../../src/identity/index.ts";

const S = 1_800_000_000;
const act = (nonce: string, changes: Partial<Act> = {}): Act => ({ keyId: "k1", nonce, id: "", step: "user", createdS: S, ...changes });

t.test("once per key, nonce, id and step", async (t) => {
  const memory = new NonceMemory();
  t.equal(memory.take(act("n"), S * 1000), "fresh");
  t.equal(memory.take(act("n"), S * 1000), "seen");
  for (const other of [act("m"), act("n", { keyId: "k2" }), act("n", { id: "c1" }), act("n", { step: "award" })])
    t.equal(memory.take(other, S * 1000), "fresh");
});

t.test("kept until 10 minutes after the signed time, then not fresh again", async (t) => {
  const memory = new NonceMemory();
  t.equal(memory.take(act("n", { createdS: S }), S * 1000), "fresh");
  t.equal(memory.take(act("n", { createdS: S }), (S + 600) * 1000), "seen");
  t.equal(memory.take(act("x", { createdS: S + 700 }), (S + 700) * 1000), "fresh");
  t.equal(memory.size, 1);
  t.equal(memory.take(act("n", { createdS: S }), (S + 700) * 1000), "forgotten");
  t.equal(memory.take(act("n", { createdS: S }), S * 1000), "forgotten", "not by a clock that goes back either");
});

t.test("a clock that was a day ahead for a moment shuts out only what it made forgotten", async (t) => {
  const memory = new NonceMemory();
  memory.take(act("n"), S * 1000);
  t.equal(memory.take(act("ahead", { createdS: S + 86_400 }), (S + 86_400) * 1000), "fresh");
  t.equal(memory.take(act("n"), S * 1000), "forgotten");
  t.equal(memory.take(act("later", { createdS: S + 60 }), (S + 60) * 1000), "fresh");
});

t.test("full is refused, nothing is pushed out; one key can't shut out another", async (t) => {
  const memory = new NonceMemory({ actsMax: 4, actsPerKeyMax: 3 });
  for (const nonce of ["1", "2", "3"]) t.equal(memory.take(act(nonce), S * 1000), "fresh");
  t.equal(memory.take(act("4"), S * 1000), "full");
  t.equal(memory.take(act("4", { keyId: "k2" }), S * 1000), "fresh");
  t.equal(memory.take(act("5", { keyId: "k3" }), S * 1000), "full");
  t.equal(memory.take(act("1"), S * 1000), "seen");
  t.equal(memory.take(act("6", { createdS: S + 700 }), (S + 700) * 1000), "fresh", "room again when old ones went");
});

t.test("property: whatever the clock does, no act is fresh twice", async () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          nonce: fc.constantFrom("a", "b", "c"),
          createdS: fc.constantFrom(S, S + 59, S + 300),
          nowMs: fc.integer({ min: (S - 1_000) * 1000, max: (S + 2_000) * 1000 }),
        }),
        { maxLength: 30 },
      ),
      (steps) => {
        const memory = new NonceMemory({ actsMax: 5 });
        const fresh = new Set<string>();
        return steps.every(({ nonce, createdS, nowMs }) => {
          if (memory.take(act(nonce, { createdS }), nowMs) !== "fresh") return true;
          const name = `${nonce} ${createdS}`;
          return !fresh.has(name) && fresh.add(name).size > 0;
        });
      },
    ),
    { numRuns: 300 },
  );
});
