import t from "tap";
import { awaitStarted } from "../../../nodes/peer/core/handlers/await-phase.ts";
import { asCcError, type ContainerId } from "../../../src/base/index.ts";

const ID = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;
type State = { readonly phase?: { readonly phase: string; readonly runToken: string }; readonly wanted?: { readonly kind: string; readonly runToken: string } };

/** A host whose records say one state after another, and then nothing new until time is over. */
async function outcomeOf(...states: readonly State[]): Promise<string> {
  let at = 0;
  let overtime: (() => void) | undefined;
  const listeners = new Set<() => void>();
  const parts = {
    view: { container: () => states[at] },
    replica: {
      onChange: (listener: () => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    clock: {
      nowMs: () => 0,
      monotonicMs: () => 0,
      after: (_ms: number, run: () => void) => {
        overtime = run;
        return () => undefined;
      },
    },
  };
  const waiting = awaitStarted(parts as never, ID, new AbortController().signal).then(
    () => "runs",
    (error: unknown) => asCcError(error).message,
  );
  for (at = 1; at < states.length; at += 1) for (const listener of listeners) listener();
  at = states.length - 1;
  overtime?.();
  const outcome = await waiting;
  t.equal(listeners.size, 0, "nobody listens afterwards");
  return outcome;
}

const phase = (name: string, runToken = "t1"): State => ({ phase: { phase: name, runToken } });

t.test("a start under way is waited for, for a while", async (t) => {
  t.equal(await outcomeOf(phase("running")), "runs");
  t.equal(await outcomeOf({}, phase("claimed"), phase("starting"), phase("running")), "runs");
  t.match(await outcomeOf({}, phase("pulling")), /still being started \(pulling\); cc status caa/);
  t.match(await outcomeOf({}), /still being started \(claimed\)/);
  t.match(await outcomeOf(phase("backoff")), /started again in a while/);
});

t.test("what was asked for and not begun is under way too", async (t) => {
  const asked = { kind: "running", runToken: "t2" };
  t.equal(await outcomeOf({ ...phase("ended"), wanted: asked }, { ...phase("running", "t2"), wanted: asked }), "runs");
  t.match(await outcomeOf({ ...phase("ended"), wanted: asked }), /still being started \(ended\)/);
  t.equal(await outcomeOf(phase("ended")), "runs", "what has ended is the runtime's to say");
});
