import t from "tap";
import { desire, ID, scene, settle } from "./fakes.ts";

const running = (runToken: string) => ({ kind: "running", runToken }) as const;

t.test("the peer returns: what runs is found, what ended is told, tokens are not used twice", async (t) => {
  const { desired, runtime, supervisor, create, clock } = scene(t);
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  await supervisor.stop();
  await supervisor.stop();
  desired.told();
  const second = create();
  await second.start();
  await settle();
  t.equal(desired.told(), "", "still running: nothing new");
  await second.stop();
  runtime.end(ID, 5);
  const third = create();
  await third.start();
  await settle();
  t.equal(desired.told(), "ended");
  await third.stop();
  runtime.found.delete(ID);
  const fourth = create();
  t.teardown(() => fourth.stop());
  await fourth.start();
  await clock.advance(60_000);
  t.same(
    runtime.calls.filter((call) => call.startsWith("start")),
    ["start a"],
    "its disk is lost, but it had ended",
  );
});

t.test("a reboot: unknown ends count as failures", async (t) => {
  for (const [restart, phase] of [
    ["no", "ended"],
    ["on-failure", "running"],
  ] as const) {
    const { desired, runtime, supervisor, clock } = scene(t);
    desired.set(desire(running("a"), { restart }));
    runtime.found.set(ID, { kind: "ended", exit: undefined, startedAtMs: clock.nowMs() - 60_000, runToken: "a~4" });
    await supervisor.start();
    await clock.advance(200);
    t.equal(desired.lasts.get(ID)?.phase, phase);
    t.equal(desired.lasts.get(ID)?.restarts, restart === "no" ? 4 : 5, "the count is in the token");
    if (restart === "no") t.equal(desired.lasts.get(ID)?.reason, "unknown");
  }
});

t.test("--rm: gone once it has ended and nobody reads any more", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  desired.set(desire(running("a"), { removeWhenEnded: true }));
  await supervisor.start();
  await settle();
  runtime.readersOf.set(ID, 1);
  runtime.end(ID, 0);
  await clock.advance(30_000);
  t.equal(desired.lasts.get(ID)?.phase, "ended");
  runtime.readersOf.clear();
  await clock.advance(2_000);
  t.equal(desired.lasts.get(ID)?.phase, "gone");
});

t.test("an end is told before what it leaves is freed, which may take long", async (t) => {
  const { desired, runtime, supervisor } = scene(t);
  desired.set(desire(running("a"), { removeWhenEnded: true }));
  await supervisor.start();
  await settle();
  let free = (): void => undefined;
  runtime.settle = () => new Promise((resolve) => (free = resolve));
  runtime.end(ID, 3);
  await settle();
  t.match(desired.lasts.get(ID), { phase: "ended", exitCode: 3 });
  free();
});
