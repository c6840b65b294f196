import t from "tap";
import { createAskAround } from "../../../nodes/peer/core/ask-around.ts";
import { CcError, type PeerId, silentLogger } from "../../../src/base/index.ts";
import type { Liveness } from "../../../src/mesh/index.ts";
import type { ReplicaService, StoredRecord } from "../../../src/state/index.ts";
import { certificate, claims, creates, Desk, facts, grants, idOf, peerId } from "../state/view-fixtures.ts";
import { FakeNeighbours } from "./fake-neighbours.ts";

/** A host among others, all records of whom it knows; what it takes in is noted. */
function asker(hosts: readonly string[], unreachable: readonly string[] = []) {
  const desk = new Desk().take(
    ...["peer 1", ...hosts].flatMap((host) => [certificate(host), facts(host, host.replaceAll(" ", "-"))]),
    grants("ann", "operator"),
  );
  const neighbours = new FakeNeighbours();
  const taken: unknown[] = [];
  let nowMs = 1_000;
  const standing: { refusal?: CcError } = {};
  const replica: Pick<ReplicaService, "take" | "mustBeReady"> = {
    mustBeReady: () => {
      if (standing.refusal !== undefined) throw standing.refusal;
    },
    take: async (frames) => {
      taken.push(...frames);
      return { taken: [], dropped: 0 };
    },
  };
  const liveness: Pick<Liveness, "reachable"> = { reachable: () => hosts.filter((host) => !unreachable.includes(host)).map((host): PeerId => peerId(host)) };
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, after: () => () => undefined };
  const ask = createAskAround({
    mesh: neighbours.mesh,
    liveness: liveness as Liveness,
    replica: replica as ReplicaService,
    view: desk.view,
    clock,
    log: silentLogger,
  });
  const later = (ms: number): void => {
    nowMs += ms;
  };
  return { desk, neighbours, taken, ask, later, standing };
}

t.test("all reachable are asked once, and what they have is taken in", async (t) => {
  const { ask, neighbours, taken } = asker(["peer 2", "peer 3"]);
  const create = creates("web");
  neighbours.answers.set(peerId("peer 2"), []).set(peerId("peer 3"), [create.frame]);
  t.same(await ask([idOf("web"), "web"]), [], "everybody answered");
  t.same(neighbours.asked.map(({ peer }) => peer).sort(), [peerId("peer 2"), peerId("peer 3")].sort());
  t.match(neighbours.asked[0]?.request, { ids: [idOf("web")], names: ["web"] });
  t.same(taken, [create.frame]);
});

t.test("who is silent or unreachable is named", async (t) => {
  const { ask, neighbours } = asker(["peer 2", "peer 3"], ["peer 3"]);
  t.same([...(await ask(["web"]))].sort(), ["peer-2", "peer-3"]);
  t.same(
    neighbours.asked.map(({ peer }) => peer),
    [peerId("peer 2")],
    "the unreachable one is not waited for",
  );
});

t.test("ask-storm: a script that polls a wrong id causes one round in a while", async (t) => {
  const { ask, neighbours, later } = asker(["peer 2", "peer 3"]);
  neighbours.answers.set(peerId("peer 2"), []);
  const said = new Set<string>();
  for (let at = 0; at < 1_000; at += 1) said.add((await ask(["nobody"])).join());
  t.same([...said], ["peer-3"], "remembered with who was silent");
  await Promise.all(Array.from({ length: 100 }, () => ask(["nobody"])));
  t.equal(neighbours.asked.length, 2);
  later(2_001);
  await ask(["nobody"]);
  t.equal(neighbours.asked.length, 4, "then it is asked anew");
});

t.test("ask-storm: many wrong ids at once are bounded, and so are hosts", async (t) => {
  const { ask, neighbours, later } = asker(Array.from({ length: 40 }, (_, at) => `host ${at}`));
  await ask(["one"]);
  t.equal(neighbours.asked.length, 32, "at most 32 hosts");
  neighbours.asked.length = 0;
  for (let at = 0; at < 3_000; at += 1) await ask([`wrong-${at}`]);
  t.ok(neighbours.asked.length <= 1_024 * 32, `${neighbours.asked.length} calls`);
  neighbours.asked.length = 0;
  later(2_001);
  await ask(Array.from({ length: 5_000 }, (_, at) => `many-${at}`));
  t.equal(neighbours.asked.length, 32, "one round for all of a request");
  t.ok((neighbours.asked[0]?.request.names?.length ?? 0) <= 256, "and a bounded one");
});

t.test("asked by another: the records of ids and names, nothing else", async (t) => {
  const { desk, neighbours } = asker(["peer 2"]);
  const make = (name: string): readonly StoredRecord[] => {
    const create = creates(name, { spec: { memoryBytes: 1 } });
    return [create, claims("peer 2", create)];
  };
  const [web, db] = [make("web"), make("db")];
  desk.take(...web, ...db);
  const handler = neighbours.handlers.get("askAround");
  const answer = async (ids: readonly string[], names: readonly string[]): Promise<readonly unknown[]> => {
    const reply = await handler?.({ kind: "container", ids, names } as never, peerId("peer 2"), new AbortController().signal);
    return typeof reply === "object" && reply !== null && "frames" in reply && Array.isArray(reply.frames) ? reply.frames : ["no answer"];
  };
  t.equal((await answer([idOf("web")], [])).length, 2);
  t.equal((await answer([], ["db"])).length, 2);
  t.same(await answer(["admin/key/x", idOf("nobody"), ""], ["nobody", ""]), []);
});

t.test("absent-succeeds: a host whose store may lack something neither says that a thing is absent nor counts as one that was asked", async (t) => {
  const { desk, neighbours, ask, standing } = asker(["peer 2"]);
  const create = creates("web", { spec: { memoryBytes: 1 } });
  desk.take(create, claims("peer 2", create));
  const handler = neighbours.handlers.get("askAround");
  const asked = async (name: string): Promise<unknown> =>
    handler?.({ kind: "container", ids: [], names: [name] } as never, peerId("peer 2"), new AbortController().signal);
  standing.refusal = new CcError("STORE_LOST", "this host lost its records");
  await t.rejects(ask(["nobody"]), { code: "STORE_LOST" });
  t.equal(neighbours.asked.length, 0);
  await t.rejects(asked("nobody"), { code: "STORE_LOST" }, "its silence is not an answer");
  t.ok(await asked("web"), "what it has it gives");
  delete standing.refusal;
  t.same(await ask(["nobody"]), ["peer-2"]);
});
