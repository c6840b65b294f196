import t from "tap";
import { containerState } from "../../../nodes/peer/core/handlers/container-state.ts";
import type { Liveness, Sighting, Standing } from "../../../src/mesh/index.ts";
import type { StoredRecord } from "../../../src/state/index.ts";
import { claims, Desk, facts, MEMBERS, NOW, peerId, removes, says } from "../state/view-fixtures.ts";
import { creates, idOf } from "./held.ts";

const MIB = 1024 ** 2;
const SPEC = { env: { SECRET: "hush" }, labels: { team: "web" } };

function shown(self: string, standing: Standing, role: "viewer" | "operator" | "admin" = "admin", ...more: readonly StoredRecord[]) {
  const create = creates("web", SPEC);
  const desk = new Desk().take(...MEMBERS, facts("peer 2", "attic-2"), create, claims("peer 2", create), ...more);
  const sighting: Sighting = { peer: peerId("peer 2"), standing, sinceMs: 0, heardAtMs: 77, seenBy: [], clockOffsetMs: 0, startNumber: 1, incarnation: 0 };
  const container = desk.view.container(idOf("web"));
  if (container === undefined) throw new Error("not there");
  const clock = { nowMs: () => NOW, monotonicMs: () => NOW, after: () => () => undefined };
  return containerState({ view: desk.view, liveness: { of: () => sighting } as Pick<Liveness, "of"> as Liveness, self: peerId(self), clock }, container, role);
}

t.test("what its records say", async (t) => {
  const state = shown("peer 1", "alive", "admin", says("peer 2", idOf("web"), "running"));
  t.match(state, {
    id: idOf("web"),
    name: "web",
    phase: "running",
    wanted: "running",
    host: peerId("peer 2"),
    hostName: "attic-2",
    labels: { team: "web" },
    memoryBytes: 16 * MIB,
    epoch: 1,
    hostReachable: true,
    heardAtMs: 77,
  });
  t.equal("exitCode" in state, false, "no exit code before an exit");
  t.equal(shown("peer 1", "alive").phase, "claimed", "nothing was said yet");
});

t.test("how old it may be: as of when its host was heard", async (t) => {
  t.match(shown("peer 1", "unreachable"), { hostReachable: false, heardAtMs: 77 });
  t.match(shown("peer 1", "suspect"), { hostReachable: true });
  t.match(shown("peer 2", "unreachable"), { hostReachable: true, heardAtMs: NOW }, "of itself a host knows now");
});

t.test("environment values are for operators", async (t) => {
  t.same(shown("peer 1", "alive", "operator").env, { SECRET: "hush" });
  t.same(shown("peer 1", "alive", "viewer").env, {});
});

t.test("of a removed host it is lost", async (t) => {
  t.match(shown("peer 1", "unreachable", "admin", says("peer 2", idOf("web"), "running"), removes("peer 2")), {
    phase: "lost",
    host: "",
    hostReachable: false,
  });
});
