import t from "tap";
import { createDesired, toBoard } from "../../../nodes/peer/core/desired.ts";
import { createPhaseBoard } from "../../../nodes/peer/phase-board.ts";
import { type ContainerId, silentLogger } from "../../../src/base/index.ts";
import type { PhaseReport } from "../../../src/containers/index.ts";
import type { Draft, ReplicaService, StoredRecord } from "../../../src/state/index.ts";
import { changes, claims, Desk, MEMBERS, peerId, says, ZONE } from "../state/view-fixtures.ts";
import { creates, idOf, tokenOf } from "./held.ts";

const report: PhaseReport = {
  phase: "running",
  reason: "",
  exitCode: undefined,
  restarts: 0,
  changedAtMs: 5,
  startedAtMs: 4,
  endedAtMs: 0,
  imageDigest: "sha256:x",
  runToken: "t",
  earlierRunTokens: [],
  wanted: { major: 0, minor: 0 },
};

function hostWith(...records: readonly StoredRecord[]) {
  const desk = new Desk().take(...MEMBERS, ...records);
  const board = createPhaseBoard();
  const written: Draft[] = [];
  const replica: Pick<ReplicaService, "onChange" | "write"> = {
    onChange: (listener) => {
      desk.listeners.add(listener);
      return () => desk.listeners.delete(listener);
    },
    write: async (drafts) => {
      written.push(...drafts);
      return { records: [], copies: 1 };
    },
  };
  const desired = createDesired({
    self: peerId("peer 2"),
    zone: ZONE,
    view: desk.view,
    replica: replica as ReplicaService,
    mayStart: () => ({ ok: true, value: undefined }) as never,
    volumesReady: async () => undefined,
    board,
    log: silentLogger,
  });
  return { desk, board, written, desired };
}

const held = (name: string, host = "peer 2", spec: object = {}): readonly StoredRecord[] => {
  const create = creates(name, spec);
  return [create, claims(host, create)];
};
const wantedOf = (host: ReturnType<typeof hostWith>, id: ContainerId) => host.desired.all().find(({ spec }) => spec.id === id)?.wanted;

t.test("what this host claims is to run with the request's token; others' is not its business", async (t) => {
  const host = hostWith(...held("web"), ...held("db", "peer 3"));
  t.same(
    host.desired.all().map(({ spec }) => spec.id),
    [idOf("web")],
  );
  t.same(wantedOf(host, idOf("web")), { kind: "running", runToken: tokenOf("web") });
  t.equal(host.desired.all()[0]?.image.reference, "alpine");
});

t.test("users' changes, the last one counts, and tells which version it is", async (t) => {
  const host = hostWith(...held("web"));
  const id = idOf("web");
  let fired = 0;
  host.desired.onChange(() => (fired += 1));
  host.desk.take(changes("Stop", [id], { ms: 1_000 }));
  t.equal(fired, 1);
  t.match(wantedOf(host, id), { kind: "stopped" });
  t.ok((host.desired.all()[0]?.version.major ?? 0) > 0);
  host.desk.take(changes("Start", [id], { ms: 2_000 }));
  t.match(wantedOf(host, id), { kind: "running", runToken: /Start 2000/ });
  host.desk.take(changes("Remove", [id], { ms: 3_000 }));
  t.same(wantedOf(host, id), { kind: "removed", as: "gone", timeoutMs: 0 });
});

t.test("only what a record changed about a container makes its desired state a new object", async (t) => {
  const host = hostWith(...held("web"), ...held("db"));
  const find = (name: string) => host.desired.all().find(({ spec }) => spec.id === idOf(name));
  const before = { web: find("web"), db: find("db") };
  host.desk.take(changes("Stop", [idOf("db")], { ms: 1_000 }), ...held("other", "peer 3"));
  t.equal(find("web"), before.web);
  t.not(find("db"), before.db);
  await host.desired.giveWay(idOf("web"), { holder: peerId("peer 3"), epoch: 2 });
  t.not(find("web"), before.web, "who is told to give way looks again");
});

t.test("a better claim elsewhere makes it give way", async (t) => {
  const create = creates("web");
  const host = hostWith(create, claims("peer 2", create), claims("peer 3", create, { epoch: 2 }));
  t.same(wantedOf(host, idOf("web")), { kind: "removed", as: "yielded", timeoutMs: 0 });
  host.desk.take(says("peer 2", idOf("web"), "yielded"));
  t.same(host.desired.all(), [], "once that is said it is over");
});

t.test("what is gone is no longer in it; what ended is", async (t) => {
  const host = hostWith(...held("web"), ...held("job"));
  host.desk.take(says("peer 2", idOf("web"), "gone"), says("peer 2", idOf("job"), "ended"));
  t.same(
    host.desired.all().map(({ spec }) => spec.id),
    [idOf("job")],
  );
});

t.test("what is over on this host: gone, given way or removed, and nothing that is only unknown", async (t) => {
  const host = hostWith(...held("web"), ...held("job"), ...held("db", "peer 3"));
  const over = () => ["web", "job", "db", "unknown"].filter((name) => host.desired.isOver(idOf(name)));
  t.same(over(), []);
  host.desk.take(says("peer 2", idOf("web"), "gone"), says("peer 2", idOf("job"), "yielded"), changes("Remove", [idOf("db")]));
  t.same(over(), ["web", "job", "db"]);
});

t.test("one start per token: a retry that is stamped after a newer wish starts nothing again", async (t) => {
  const host = hostWith(...held("web"));
  const id = idOf("web");
  const token = (ms: number) => `Restart ${ms}`;
  host.desk.take(changes("Restart", [id], { ms: 1_000 }));
  const first = wantedOf(host, id);
  t.match(first, { kind: "running", runToken: new RegExp(token(1_000)) });
  host.desk.take(says("peer 2", id, "running", { tokens: ["a newer one", (first as { runToken: string }).runToken] }));
  t.same(wantedOf(host, id), { kind: "running", runToken: "a newer one" });
  host.desk.take(changes("Restart", [id], { ms: 5_000 }));
  t.match(wantedOf(host, id), { kind: "running", runToken: new RegExp(token(5_000)) });
});

t.test("a request that this version cannot read is left as it is", async (t) => {
  const host = hostWith(...held("odd", "peer 2", { memoryBytes: 1 }));
  t.same(host.desired.all(), []);
  t.same(host.written, [], "nothing is said of it");
});

t.test("a report is on the board at once, and written under this host's own key", async (t) => {
  const host = hostWith(...held("web"));
  const id = idOf("web");
  const stored = host.desired.report(id, report);
  t.match(host.board.of(id), { phase: "running", startedAtMs: 4 });
  await stored;
  t.match(host.written, [{ key: `host/${peerId("peer 2")}/${ZONE}/phase/${id}`, final: false }]);
  await host.desired.report(id, { ...report, phase: "gone" });
  t.equal(host.written[1]?.final, true, "gone is for good");
  host.desk.take(says("peer 2", id, "ended"));
  t.match(host.desired.lastPhase(id), { phase: "ended", restarts: 0 });
  t.equal(host.desired.lastPhase(idOf("nobody")), undefined);
});

t.test("a failure is shown as its code and sentence", async (t) => {
  t.match(toBoard({ ...report, phase: "failed", reason: "IMAGE_NOT_FOUND: no such\nimage" }), { failure: "IMAGE_NOT_FOUND", reason: "no such\nimage" });
  t.match(toBoard({ ...report, phase: "failed", reason: "MADE_UP: x" }), { failure: undefined, reason: "x" });
  t.match(toBoard({ ...report, phase: "ended", reason: "IMAGE_NOT_FOUND: x" }), { failure: undefined });
});
