import t from "tap";
import { createPhaseBoard, type PhaseNow } from "../../../nodes/peer/phase-board.ts";
import { idOf } from "../state/view-fixtures.ts";

const now = (phase: string, more: Partial<PhaseNow> = {}): PhaseNow => ({
  phase,
  exitCode: undefined,
  reason: "",
  failure: undefined,
  startedAtMs: 0,
  progress: "",
  ...more,
});
const never = new AbortController().signal;

t.test("a waiter gets the first state that fits, known or to come", async (t) => {
  const board = createPhaseBoard();
  const id = idOf("one");
  const waiting = board.until(id, ({ phase }) => phase === "running", never);
  board.set(id, now("pulling"));
  board.set(id, now("running", { startedAtMs: 7 }));
  board.set(id, now("ended", { exitCode: 3 }));
  t.equal((await waiting).startedAtMs, 7, "also when it has passed before the waiter ran again");
  t.equal((await board.until(id, ({ phase }) => phase === "ended", never)).exitCode, 3, "what is known already needs no wait");
  t.equal(board.of(idOf("other")), undefined);
});

t.test("one container's change wakes nobody else's waiter, and everybody of its own", async (t) => {
  const board = createPhaseBoard();
  let others = 0;
  const stop = new AbortController();
  const other = board.until(
    idOf("other"),
    () => {
      others += 1;
      return false;
    },
    stop.signal,
  );
  const both = [1, 2].map(() => board.until(idOf("one"), ({ phase }) => phase === "ended", never));
  board.set(idOf("one"), now("ended"));
  t.same(
    (await Promise.all(both)).map(({ phase }) => phase),
    ["ended", "ended"],
  );
  t.equal(others, 0);
  stop.abort(new Error("enough"));
  await t.rejects(other, { message: "enough" });
});

t.test("an abort ends the wait, also one from before", async (t) => {
  const board = createPhaseBoard();
  await t.rejects(
    board.until(idOf("one"), () => true, AbortSignal.abort(new Error("too late"))),
    { message: "too late" },
  );
});

t.test("what is gone keeps how it ended", async (t) => {
  const board = createPhaseBoard();
  board.set(idOf("one"), now("ended", { exitCode: 9, reason: "oom", startedAtMs: 5 }));
  board.set(idOf("one"), now("gone"));
  t.match(board.of(idOf("one")), { phase: "gone", exitCode: 9, reason: "oom", startedAtMs: 5 });
});

t.test("of those that are gone the oldest are forgotten", async (t) => {
  const board = createPhaseBoard();
  const ids = Array.from({ length: 1_100 }, (_, at) => idOf(`c${at}`));
  board.set(idOf("alive"), now("running"));
  for (const id of ids) board.set(id, now("gone"));
  t.equal(ids.filter((id) => board.of(id) !== undefined).length, 1_024);
  t.equal(board.of(ids[0] ?? idOf("")), undefined);
  t.equal(board.of(idOf("alive"))?.phase, "running", "what is not gone stays");
});
