import t from "tap";
import type { PeerId } from "../../../src/base/index.ts";
import { nextStep, SILENCE_MS, startRound, WINDOW_MS, withAnswer, withAsked } from "../../../src/placement/awaited.ts";

const [low, self, high] = ["a", "b", "c"] as PeerId[] as [PeerId, PeerId, PeerId];
const hosts = [self, high].map((peer) => ({ peer, name: peer, zone: "a", eligible: true }));
const bid = { kind: "bid", price: 1, terms: {}, validForMs: 2_000 } as const;
const round = (rivals: readonly PeerId[]) => withAnswer(startRound({ self, named: false, hosts, rivals, askedBefore: [] }, 0), self, bid, 1);

t.test("a rival with a higher id may have its award out: it is asked, and waited for, before anybody is awarded", async (t) => {
  t.match(nextStep(round([]), WINDOW_MS, false), { do: "award" }, "nobody else is at it");
  const asked = withAsked(round([high]), [high], WINDOW_MS);
  t.same(nextStep(round([high]), WINDOW_MS, false), { do: "ask", peers: [high] });
  t.same(nextStep(asked, 2 * WINDOW_MS, false), { do: "wait", untilMs: WINDOW_MS + SILENCE_MS });
  t.match(nextStep(withAnswer(asked, high, { kind: "at-work" }, 200), 200, false), { do: "wait-for", peer: high });
  t.match(nextStep(withAnswer(asked, high, bid, 200), 200, false), { do: "award" }, "it has given up, or never began");
  t.match(nextStep(asked, WINDOW_MS + SILENCE_MS, false), { do: "award" }, "it kept silent");
});

t.test("a lower rival goes on, whatever it says", async (t) => {
  t.same(nextStep(round([low]), WINDOW_MS, false), { do: "wait-for", peer: low });
});
