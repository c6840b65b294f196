import t from "tap";
import type { ContainerId, PeerId } from "../../../src/base/index.ts";
import { Bell } from "../../../src/placement/bell.ts";
import { settleForeign, waitForRival } from "../../../src/placement/others-attempts.ts";
import { VirtualTime } from "./virtual-time.ts";

const ID = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;
const OTHER = "p" as PeerId;
const ASKS_MAX = 100;

/** A host that answers without any pause, as this host itself does, and rings as each answer does. */
function following(time: VirtualTime, kind: "refused" | "at-work") {
  const bell = new Bell(time.clock());
  const asked = { count: 0 };
  const ask = async (): Promise<object> => {
    asked.count += 1;
    if (asked.count > ASKS_MAX) throw new Error("asked again and again");
    bell.ring();
    return { kind, code: "NO_ROOM", reason: "full" };
  };
  const parts = {
    bell,
    clock: time.clock(),
    liveness: { of: () => ({ standing: "alive" }) },
    asking: { ask, restart: () => undefined },
    attempts: { raiseEpoch: () => undefined, dropRival: () => undefined },
  } as never as Parameters<typeof settleForeign>[2];
  return { asked, bell, parts };
}

t.test("lost-award: a host that answers at once is asked with pauses until it can no longer take another's award", async (t) => {
  const time = new VirtualTime();
  const { asked, parts } = following(time, "refused");
  t.match(await time.settle(settleForeign(ID, { holder: OTHER, epoch: 1 }, parts, () => false)), { kind: "free" });
  t.ok(asked.count > 1 && asked.count < 20, `asked ${asked.count} times`);
  t.ok(time.nowMs >= 2_000, "a bid's time has passed");
});

t.test("retry-elsewhere: a rival that is at work is asked with pauses, and what rings in between is heard", async (t) => {
  const time = new VirtualTime();
  const { asked, parts } = following(time, "at-work");
  t.match(await time.settle(waitForRival(ID, OTHER, parts, () => false)), { kind: "unknown" });
  t.ok(asked.count > 1 && asked.count < 30, `asked ${asked.count} times`);

  const heard = following(time, "at-work");
  let isFound = false;
  const sinceMs = time.nowMs;
  time.after(50, () => {
    isFound = true;
    heard.bell.ring();
  });
  t.match(await time.settle(waitForRival(ID, OTHER, heard.parts, () => isFound)), { kind: "found" });
  t.ok(time.nowMs - sinceMs < 100, "at once");
});
