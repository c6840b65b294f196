import t from "tap";
import { parseIp } from "../../../src/base/index.ts";
import {
  expiresMs,
  type HeldMapping,
  keyOf,
  type MappingSituation,
  planMappings,
  type Retry,
  renewDueMs,
  retryAtMs,
  type WantedMapping,
} from "../../../src/ports/plan-mappings.ts";

const ip = (text: string) => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};
const LOCAL = ip("192.168.1.5");
const wants = (internalPort: number, more: Partial<WantedMapping> = {}): WantedMapping => {
  return { protocol: "tcp", internalAddress: LOCAL, internalPort, externalPort: internalPort, leaseSeconds: 100, description: "", ...more };
};
const has = (internalPort: number, more: Partial<HeldMapping> = {}): HeldMapping => {
  const base = { protocol: "tcp", internalAddress: LOCAL, internalPort, via: "pcp", externalAddress: ip("11.0.0.1"), externalPort: internalPort } as const;
  return { ...base, preferredPort: internalPort, because: undefined, leaseSeconds: 100, grantedMs: 0, lookedMs: 0, lost: false, ...more };
};
const plan = (nowMs: number, wanted: readonly WantedMapping[], held: readonly HeldMapping[], retries: Readonly<Record<string, Retry>> = {}) => {
  const situation: MappingSituation = { wanted, held, retries: new Map(Object.entries(retries)), lookEveryMs: 20_000, nowMs };
  const { actions, nextMs } = planMappings(situation);
  return { does: actions.map((action) => `${action.kind} ${action.key.split(":")[1]}`), nextMs };
};
const KEY = keyOf(wants(80));
const failed = (of: Retry["of"], tries: number, againMs: number): Retry => ({ of, tries, againMs, reason: "no" });

t.test("what is wanted and not held is asked for; what is held and not wanted is removed, and first", async (t) => {
  t.strictSame(plan(0, [], []), { does: [], nextMs: Number.POSITIVE_INFINITY });
  t.strictSame(plan(0, [wants(80), wants(81)], []), { does: ["ask 80", "ask 81"], nextMs: Number.POSITIVE_INFINITY });
  t.strictSame(plan(1_000, [wants(80)], [has(81)]).does, ["remove 81", "ask 80"], "the port that it gives back may be the one that is wanted");
  t.strictSame(plan(1_000, [wants(80, { externalPort: 443 })], [has(80)]).does, ["remove 80"], "another external port: first the old one goes");
  t.strictSame(plan(0, [wants(80), wants(80, { externalPort: 1 })], []).does, ["ask 80"], "one for each internal port");
  t.strictSame(plan(0, [wants(80, { protocol: "udp" }), wants(80)], []).does.length, 2);
});

t.test("renewed at half the lease, asked for again when it is over, looked at in between", async (t) => {
  const quiet = has(80, { lookedMs: 1_000_000 });
  t.strictSame(plan(49_999, [wants(80)], [quiet]), { does: [], nextMs: 50_000 });
  t.strictSame(plan(50_000, [wants(80)], [quiet]).does, ["renew 80"]);
  t.strictSame(plan(100_000, [wants(80)], [quiet]).does, ["ask 80"]);
  t.strictSame(plan(19_999, [wants(80)], [has(80)]), { does: [], nextMs: 20_000 });
  t.strictSame(plan(20_000, [wants(80)], [has(80)]).does, ["look 80"]);
  t.strictSame(plan(100_000, [], [has(80)]).does, ["forget 80"], "what is over and not wanted is the router's affair");
  t.equal(renewDueMs({ grantedMs: 5, leaseSeconds: 1 }), 1_005, "never without a pause");
});

t.test("one look for each protocol, at the one that was not looked at for longest", async (t) => {
  const wanted = [80, 81, 82, 83].map((port) => wants(port));
  const held = [has(80, { lookedMs: 3 }), has(81, { lookedMs: 1 }), has(82, { lookedMs: 2, via: "upnp" }), has(83, { lost: true, lookedMs: -1 })];
  t.strictSame(plan(20_003, wanted, held).does, ["ask 83", "look 82", "look 81"]);
  t.strictSame(plan(20_002, wanted, held).does, ["ask 83", "look 82"], "a protocol was looked at when its last one was");
});

t.test("without a lease nothing is renewed, and it is looked at all the same", async (t) => {
  const held = has(80, { leaseSeconds: 0, via: "upnp" });
  t.strictSame(plan(10, [wants(80)], [held]), { does: [], nextMs: 20_000 });
  t.strictSame(plan(1e9, [wants(80)], [held]).does, ["look 80"]);
  t.strictSame(plan(1e9, [], [held]).does, ["remove 80"], "and removed, however long ago it was");
});

t.test("a router that restarted is asked again at once", async (t) => {
  t.strictSame(plan(1, [wants(80), wants(81)], [has(80, { lost: true }), has(81, { lost: true })]).does, ["ask 80", "ask 81"]);
});

t.test("what failed waits for its time, and only what failed", async (t) => {
  t.strictSame(plan(10, [wants(80), wants(81)], [], { [KEY]: failed("map", 1, 500) }), { does: ["ask 81"], nextMs: 500 });
  t.strictSame(plan(500, [wants(80)], [], { [KEY]: failed("map", 1, 500) }).does, ["ask 80"]);
  t.strictSame(plan(10, [], [has(80)], { [KEY]: failed("map", 9, 500) }).does, ["remove 80"], "that it could not be made does not keep it from being removed");
  t.strictSame(plan(10, [], [has(80)], { [KEY]: failed("remove", 1, 500) }), { does: [], nextMs: 500 });
  t.strictSame(plan(10, [], [has(80, { leaseSeconds: 0 })], { [KEY]: failed("remove", 8, 500) }).does, ["forget 80"], "nor is it tried for ever");
});

t.test("pauses grow, keep a lease alive, and are as long as the router asks", async (t) => {
  t.strictSame(
    [1, 2, 3, 7, 40].map((tries) => retryAtMs(tries, 0) / 1_000),
    [10, 20, 40, 600, 600],
  );
  t.equal(retryAtMs(1, 0, { askedPauseSeconds: 30 }), 30_000);
  t.equal(retryAtMs(1, 0, { askedPauseSeconds: 1e9 }), 1_800_000, "but not for ever");
  t.equal(retryAtMs(9, 0, { expiresMs: 8_000 }), 4_000, "half of what is left of a lease");
  t.equal(retryAtMs(9, 0, { expiresMs: 10 }), 1_000);
  t.equal(retryAtMs(1, 5_000, { expiresMs: 4_000 }), 15_000, "a lease that is over hurries nobody");
  t.equal(expiresMs({ grantedMs: 1, leaseSeconds: 0 }), Number.POSITIVE_INFINITY);
});
