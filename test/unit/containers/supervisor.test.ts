import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { aSpec, desire, ID, OTHER, scene, settle } from "./fakes.ts";

const running = (runToken: string) => ({ kind: "running", runToken }) as const;
const stopped = { kind: "stopped", timeoutMs: undefined } as const;
const removed = { kind: "removed", as: "gone", timeoutMs: 0 } as const;

t.test("from nothing to running, and to its end", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  t.equal(desired.told(), "pulling starting running");
  t.match(desired.lasts.get(ID), { runToken: "a", restarts: 0, imageDigest: "sha256:1", startedAtMs: clock.nowMs(), wanted: { major: 1, minor: 1 } });
  await clock.advance(90_000);
  t.equal(desired.told(), "", "nothing is told twice");
  runtime.end(ID, 3);
  await settle();
  t.equal(desired.told(), "ended");
  t.match(desired.lasts.get(ID), { exitCode: 3, endedAtMs: clock.nowMs() });
  t.same(runtime.calls, ["start a", "settle"]);
  await clock.advance(24 * 3_600_000 + 1_000);
  t.equal(desired.told(), "gone", "kept for a day, then it removes itself");
  t.equal(runtime.calls.at(-1), "remove");
});

t.test("only the container of which something is new is looked at", async (t) => {
  const { desired, runtime, supervisor } = scene(t);
  const mine = desire(running("a"));
  const other = desire(running("b"), { id: OTHER });
  desired.set(mine, other);
  await supervisor.start();
  await settle();
  runtime.looks.clear();
  desired.set(mine, desire(running("b"), { id: OTHER }, 2));
  await settle();
  t.equal(runtime.looks.get(ID), undefined, "nothing is new about it");
  t.ok(runtime.looks.get(OTHER));
  t.equal(desired.lasts.get(OTHER)?.wanted.minor, 2);
  runtime.looks.clear();
  desired.set(other);
  await settle();
  t.ok(runtime.looks.get(OTHER), "it is what it was before, and that is new");
  t.equal(runtime.found.get(ID)?.kind, "running", "what is no longer asked for is left");
});

t.test("a better claim that is known while the last look is answered ends the wait", async (t) => {
  const { desired, runtime, images, supervisor } = scene(t);
  images.here = true;
  let answer: (may: boolean) => void = () => undefined;
  desired.mayStart = () => new Promise((resolve) => (answer = resolve));
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  desired.set(desire(running("a"), {}, 2));
  desired.mayStart = () => Promise.resolve(true);
  answer(false);
  await settle();
  t.equal(runtime.found.get(ID)?.kind, "running", "it is looked at again at once, not after a minute");
});

t.test("a start is made ready while its record is on its way to the disk, and begins after it", async (t) => {
  const { desired, runtime, images, supervisor, clock } = scene(t);
  await images.pull("x", { signal: new AbortController().signal });
  let store: () => void = () => undefined;
  desired.stored = new Promise((resolve) => {
    store = resolve;
  });
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  t.same(runtime.calls, ["start a"], "the runtime is at work");
  t.same(runtime.found.get(ID), undefined, "but no process exists");
  store();
  await settle();
  t.match(runtime.found.get(ID), { kind: "running" });
  t.match(desired.told(), /starting running$/);

  runtime.end(ID, 0);
  await settle();
  desired.told();
  desired.stored = Promise.reject(new CcError("INTERNAL", "the disk is broken"));
  desired.stored.catch(() => undefined);
  desired.set(desire(running("b"), {}, 2));
  await clock.advance(1_000);
  t.not(runtime.found.get(ID)?.kind, "running", "a record that can't be stored starts nothing");
});

t.test("stop: the image's signal, then KILL when the time is up", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  runtime.endsOn = new Set(["SIGKILL"]);
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  desired.set(desire(stopped, {}, 2));
  await clock.advance(9_900);
  t.same(runtime.calls, ["start a", "kill SIGQUIT"]);
  await clock.advance(200);
  t.same(runtime.calls, ["start a", "kill SIGQUIT", "kill SIGKILL", "settle"]);
  t.equal(desired.told(), "pulling starting running stopping ended(stopped)");
  t.match(desired.lasts.get(ID), { exitCode: 137, wanted: { minor: 2 } });
  await clock.advance(48 * 3_600_000);
  t.equal(desired.told(), "", "one that was stopped stays until it is removed");
  desired.set(desire(removed, {}, 3));
  await settle();
  t.equal(desired.told(), "gone(stopped)");
});

t.test("the spec's stop signal comes before the image's, a stop's own time before the spec's", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  runtime.endsOn = new Set(["SIGKILL"]);
  desired.set(desire(running("a"), { stopSignal: "SIGUSR1" }));
  await supervisor.start();
  await settle();
  desired.set(desire({ kind: "stopped", timeoutMs: 500 }, { stopSignal: "SIGUSR1" }, 2));
  await clock.advance(499);
  t.same(runtime.calls.slice(1), ["kill SIGUSR1"]);
  await clock.advance(2);
  t.equal(runtime.calls[2], "kill SIGKILL");
});

t.test("restart policies", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  desired.set(desire(running("a"), { restart: "on-failure" }));
  await supervisor.start();
  await settle();
  runtime.end(ID, 1);
  await clock.advance(99);
  t.equal(desired.told(), "pulling starting running backoff");
  await clock.advance(1);
  t.equal(desired.told(), "starting running");
  t.match(desired.lasts.get(ID), { restarts: 1, runToken: "a" });
  runtime.end(ID, 1);
  await clock.advance(199);
  t.same(runtime.calls, ["start a", "start a~1"], "the second wait is twice as long");
  await clock.advance(1);
  t.same(runtime.calls, ["start a", "start a~1", "start a~2"]);
  await clock.advance(10_000);
  runtime.end(ID, 1);
  await clock.advance(100);
  t.equal(runtime.calls.length, 4, "a steady run begins anew with the shortest wait");
  runtime.end(ID, 0);
  await clock.advance(60_000);
  t.equal(runtime.calls.at(-1), "settle", "success is no failure");
  t.equal(desired.lasts.get(ID)?.phase, "ended");
});

t.test("restart: another token stops the process and starts it anew", async (t) => {
  const { desired, runtime, supervisor } = scene(t);
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  desired.set(desire(running("b"), {}, 2));
  await settle();
  t.same(runtime.calls, ["start a", "kill SIGQUIT", "start b"]);
  t.equal(desired.told(), "pulling starting running stopping starting running");
  t.match(desired.lasts.get(ID), { runToken: "b", earlierRunTokens: ["a"] });
  for (let more = 0; more < 20; more += 1) {
    desired.set(desire(running(`more ${more}`), {}, 3 + more));
    await settle();
  }
  const earlier = desired.lasts.get(ID)?.earlierRunTokens ?? [];
  t.same([earlier[0], earlier.length], ["more 18", 16], "so many are known, the latest first");
});

t.test("a command that is not there: failed, with the shell's exit code, and not tried again", async (t) => {
  const { desired, runtime, supervisor, clock, create } = scene(t);
  runtime.startError = new CcError("COMMAND_NOT_FOUND", "no such command");
  desired.set(desire(running("a"), { restart: "always" }));
  await supervisor.start();
  await clock.advance(120_000);
  t.equal(desired.told(), "pulling starting failed(COMMAND_NOT_FOUND: no such command)");
  t.equal(desired.lasts.get(ID)?.exitCode, 127);
  t.same(runtime.calls, ["start a"]);
  await supervisor.stop();
  const again = create();
  t.teardown(() => again.stop());
  await again.start();
  await clock.advance(120_000);
  t.same(runtime.calls, ["start a"], "nor after the peer's return");
  runtime.startError = undefined;
  desired.set(desire(running("b"), { restart: "always" }, 2));
  await settle();
  t.equal(desired.lasts.get(ID)?.phase, "running", "a new token is a new try");
});

t.test("a registry that is down: said at once without a policy, tried again with one", async (t) => {
  const { desired, images, supervisor, clock } = scene(t);
  images.pullError = new CcError("REGISTRY_UNREACHABLE", "no answer");
  desired.set(desire(running("a")));
  await supervisor.start();
  await clock.advance(10_000);
  t.equal(desired.told(), "pulling failed(REGISTRY_UNREACHABLE: no answer)");
  desired.set(desire(running("b"), { restart: "always" }, 2));
  await clock.advance(50);
  t.equal(desired.told(), "pulling backoff(REGISTRY_UNREACHABLE: no answer)");
  images.pullError = undefined;
  await clock.advance(100);
  t.equal(desired.lasts.get(ID)?.phase, "running");
});

t.test("a start that fails for now is the last that was acted on, whatever an earlier run has left", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  const always = { restart: "always" } as const;
  desired.set(desire(running("a"), always));
  await supervisor.start();
  await settle();
  runtime.startError = new CcError("CONTAINER_FAILED", "not now");
  desired.set(desire(running("b"), always, 2));
  await clock.advance(50);
  const last = { runToken: "b", earlierRunTokens: ["a"] };
  t.match(desired.lasts.get(ID), { ...last, phase: "backoff", reason: "CONTAINER_FAILED: not now" }, "and why it does not run is said");
  desired.set(desire(stopped, always, 3));
  await settle();
  t.match(desired.lasts.get(ID), { ...last, phase: "ended", reason: "stopped" });
  runtime.startError = undefined;
  desired.set(desire(running("b"), always, 4));
  await clock.advance(200);
  t.match(desired.lasts.get(ID), { ...last, phase: "running" }, "it had not run yet");
});

t.test("a wish that failed and comes back, in the middle of another's pull, has failed", async (t) => {
  const { desired, images, supervisor } = scene(t);
  images.pullError = new CcError("IMAGE_NOT_FOUND", "no such image");
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  const failed = { phase: "failed", reason: "IMAGE_NOT_FOUND: no such image", runToken: "a" };
  t.match(desired.lasts.get(ID), failed);
  images.gate = new Promise(() => undefined);
  desired.set(desire(running("b"), {}, 2));
  await settle();
  t.match(desired.lasts.get(ID), { phase: "pulling" });
  // A retry of the first, stamped later than the second.
  desired.set(desire(running("a"), {}, 3));
  await settle();
  t.equal(images.aborted, 1);
  t.match(desired.lasts.get(ID), failed);
});

t.test("stopped or removed in the middle of a pull", async (t) => {
  for (const [wanted, phase] of [
    [stopped, "ended"],
    [removed, "gone"],
  ] as const) {
    const { desired, images, runtime, supervisor } = scene(t);
    images.gate = new Promise(() => undefined);
    desired.set(desire(running("a")));
    await supervisor.start();
    await settle();
    desired.set(desire(wanted, {}, 2));
    await settle();
    t.equal(images.aborted, 1);
    t.equal(desired.lasts.get(ID)?.phase, phase);
    t.notOk(runtime.calls.includes("start a"));
  }
});

t.test("a better claim: not started; ours yields", async (t) => {
  const { desired, runtime, supervisor } = scene(t);
  desired.mayStartAnswer = false;
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  t.same(runtime.calls, []);
  desired.set(desire({ kind: "removed", as: "yielded", timeoutMs: 0 }, {}, 2));
  await settle();
  t.equal(desired.lasts.get(ID)?.phase, "yielded");
});

t.test("one container's fault holds up no other", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  const inspect = runtime.inspect.bind(runtime);
  let broken = true;
  runtime.inspect = (id) => (id === ID && broken ? Promise.reject(new Error("broken")) : inspect(id));
  desired.set(desire(running("a")), { ...desire(running("b")), spec: aSpec({ id: OTHER }) });
  await supervisor.start();
  await clock.advance(1_000);
  t.equal(desired.lasts.get(OTHER)?.phase, "running");
  t.equal(desired.lasts.get(ID), undefined);
  broken = false;
  await clock.advance(60_000);
  t.equal(desired.lasts.get(ID)?.phase, "running", "and it is tried again");
});

t.test("a container whose disk is gone runs again if its policy says so, else it has ended now", async (t) => {
  for (const [restart, told] of [
    ["always", "backoff(unknown) pulling starting running"],
    ["no", "ended(unknown)"],
  ] as const) {
    const { desired, runtime, supervisor, clock } = scene(t);
    const startedAtMs = clock.nowMs() - 5_000;
    desired.lasts.set(ID, {
      phase: "running",
      reason: "",
      exitCode: undefined,
      restarts: 0,
      changedAtMs: startedAtMs,
      startedAtMs,
      endedAtMs: 0,
      imageDigest: "",
      runToken: "a",
      earlierRunTokens: [],
      wanted: { major: 1, minor: 1 },
    });
    desired.set(desire(running("a"), { restart }));
    await supervisor.start();
    await clock.advance(5_000);
    t.equal(desired.told(), told);
    t.equal(runtime.calls.includes("start a~1"), restart === "always");
    t.notOk(runtime.calls.includes("remove"), "it is kept as long as any other that has ended");
  }
});
