import t from "tap";
import { desire, ID, OTHER, scene, settle } from "./fakes.ts";

const running = (runToken: string) => ({ kind: "running", runToken }) as const;

t.test("what no record asks for is left alone; what is no longer listed too", async (t) => {
  const { desired, runtime, supervisor, clock } = scene(t);
  runtime.found.set(OTHER, { kind: "running", pid: 1, startedAtMs: 0, runToken: "z" });
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  desired.set();
  await clock.advance(120_000);
  t.same(runtime.calls, ["start a"]);
  t.equal(runtime.found.size, 2);
});

t.test("what is known to be over does not stay: found at the start, learnt later, or while it runs", async (t) => {
  const { desired, runtime, supervisor } = scene(t);
  const removals = () => runtime.calls.filter((call) => call.startsWith("remove")).length;
  runtime.found.set(OTHER, { kind: "running", pid: 1, startedAtMs: 0, runToken: "z" });
  desired.over.add(OTHER);
  desired.set(desire(running("a")));
  await supervisor.start();
  await settle();
  t.same([...runtime.found.keys()], [ID], "a disk of yesterday brings nothing back");
  desired.over.add(ID);
  desired.set();
  await settle();
  t.equal(runtime.found.size, 0, "nor does a life that had forgotten that it was gone");
  desired.set();
  await settle();
  t.equal(removals(), 2, "once each");
  t.same(desired.told().includes("gone"), false, "nothing is said again");
});

t.test("what was left alone is removed once it is known to be over", async (t) => {
  const { desired, runtime, supervisor } = scene(t);
  runtime.found.set(OTHER, { kind: "running", pid: 1, startedAtMs: 0, runToken: "z" });
  await supervisor.start();
  await settle();
  t.equal(runtime.found.size, 1);
  desired.over.add(OTHER);
  desired.set();
  await settle();
  t.equal(runtime.found.size, 0);
});
