import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { silentLogger } from "../../../src/base/index.ts";
import { createRouterMappings, MAPPINGS_MAX, type MappingStatus, type RouterForward, type RouterMappings, type RouterRoute } from "../../../src/ports/index.ts";
import { VirtualTime } from "../placement/virtual-time.ts";
import { FakeRouter, ip, MemoryBook, ROUTE } from "./fake-router.ts";

type Scene = {
  readonly time: VirtualTime;
  readonly router: FakeRouter;
  readonly other: FakeRouter;
  readonly book: MemoryBook;
  readonly mappings: RouterMappings;
  route: RouterRoute | undefined;
  /** What the status was whenever it was said to have changed. */
  readonly told: string[];
};

function scene(more: { readonly time?: VirtualTime; readonly router?: FakeRouter; readonly book?: MemoryBook } = {}): Scene {
  const time = more.time ?? new VirtualTime();
  const clock = time.clock();
  const router = more.router ?? new FakeRouter(clock, "pcp");
  const other = new FakeRouter(clock, "upnp");
  const book = more.book ?? new MemoryBook();
  const deps = { drivers: [router.driver(), other.driver()], routes: { find: async () => made.route }, book, clock, logger: silentLogger };
  const mappings = createRouterMappings(
    {
      ...deps,
      changed: () => {
        made.told.push(words(made).join());
      },
    },
    { leaseSeconds: 100, lookEveryMs: 20_000, routeEveryMs: 10_000 },
  );
  const made: Scene = { time, router, other, book, mappings, route: ROUTE, told: [] };
  mappings.start();
  return made;
}
const forward = (port: number, externalPort = port): RouterForward => ({ protocol: "tcp", port, externalPort, description: "web" });
const inWords = (status: MappingStatus): string =>
  status.state === "mapped"
    ? `${status.mappedPort} by ${status.via}${status.note === undefined ? "" : `: ${status.note}`}`
    : status.state === "failed"
      ? `no: ${status.reason}`
      : "asking";
const words = (s: Scene): string[] => s.mappings.status().map(inWords);

t.test("asked for, renewed at half the lease, looked at in between, removed", async (t) => {
  const s = scene();
  await s.time.pass(60_000);
  t.same(s.router.asked, [], "nothing is touched before it is said what is wanted");
  s.mappings.want([forward(80)]);
  t.same(words(s), ["asking"]);
  await s.time.pass(1_000);
  t.same(words(s), ["80 by pcp"]);
  t.same(s.router.mapped(), ["80/tcp -> 80"]);
  t.match(s.mappings.status()[0], { externalAddress: ip("11.0.0.1"), untilMs: 1_700_000_000_000 + 160_000 });
  t.match(s.mappings.router(), { route: ROUTE, via: ["pcp"] });
  await s.time.pass(110_000);
  t.same(s.router.asked, ["find", "map 80 @60", "look @80", "look @100", "map 80 @110", "look @120", "look @140", "map 80 @160", "look @160"]);
  t.same(s.other.asked, [], "UPnP is not asked where PCP answers");
  s.mappings.want([]);
  await s.time.pass(1_000);
  t.same(s.router.mapped(), []);
  t.same(s.book.mappings, []);
  const asked = s.router.asked.length;
  await s.time.pass(3_600_000);
  t.equal(s.router.asked.length, asked, "then it rests");
  t.same([...new Set(s.told)], ["asking", "80 by pcp", ""]);
  await s.mappings.stop();
});

t.test("a router that restarts gets all of them again with its next look", async (t) => {
  const s = scene();
  s.mappings.want([forward(80), forward(81), forward(82)]);
  await s.time.pass(5_000);
  s.router.restart();
  t.same(s.router.mapped(), []);
  await s.time.pass(20_000);
  t.same(s.router.mapped(), ["80/tcp -> 80", "81/tcp -> 81", "82/tcp -> 82"]);
  await s.mappings.stop();
});

t.test("one that is away for minutes is found again, and says so meanwhile", async (t) => {
  const s = scene();
  s.mappings.want([forward(80)]);
  await s.time.pass(5_000);
  s.router.restart();
  s.router.trouble = { kind: "silent", reason: "it does not answer" };
  s.other.trouble = { kind: "silent", reason: "nor so" };
  await s.time.pass(20_000);
  t.same(words(s), ["80 by pcp: it does not answer"], "by its lease it should still be there");
  await s.time.pass(180_000);
  t.same(words(s), ["no: PCP: it does not answer; UPnP: nor so"]);
  const finds = s.router.asked.filter((line) => line === "find").length;
  t.ok(finds < 20, `not asked without pause (${finds})`);
  s.router.trouble = undefined;
  await s.time.pass(31_000);
  t.same(s.router.mapped(), ["80/tcp -> 80"]);
  t.same(words(s), ["80 by pcp"]);
  await s.mappings.stop();
});

t.test("one that restarts and is not there when it is looked at gets all of them as soon as it is", async (t) => {
  const s = scene();
  s.other.trouble = { kind: "silent", reason: "no UPnP here" };
  s.mappings.want([forward(80), forward(81)]);
  await s.time.pass(15_000);
  s.router.restart();
  s.router.trouble = { kind: "silent", reason: "it does not answer" };
  await s.time.pass(10_000);
  s.router.trouble = undefined;
  await s.time.pass(20_000);
  t.same(s.router.mapped(), ["80/tcp -> 80", "81/tcp -> 81"]);
  await s.mappings.stop();
});

t.test("one that speaks PCP no more, but UPnP, is asked by that for what it had", async (t) => {
  const s = scene();
  s.mappings.want([forward(80)]);
  await s.time.pass(1_000);
  s.router.trouble = { kind: "silent", reason: "it does not answer" };
  await s.time.pass(25_000);
  t.same(words(s), ["80 by upnp"]);
  await s.mappings.stop();
});

t.test("UPnP where PCP is not spoken, or says no for itself; where the router says no, it means it", async (t) => {
  for (const [kind, expected] of [
    ["cannot", "80 by upnp"],
    ["silent", "80 by upnp"],
    ["refused", "no: PCP: it says no"],
  ] as const) {
    const s = scene();
    s.mappings.want([forward(79)]);
    if (kind === "silent") s.router.trouble = { kind, reason: "it says no" };
    await s.time.pass(1_000);
    s.router.trouble = { kind, reason: "it says no" };
    s.mappings.want([forward(79), forward(80)]);
    await s.time.pass(1_000);
    t.equal(words(s)[1], expected, kind);
    await s.mappings.stop();
  }
});

t.test("a refusal is asked again later and later, as late as the router asks", async (t) => {
  const s = scene();
  s.mappings.want([forward(80)]);
  await s.time.pass(0);
  s.router.trouble = { kind: "refused", reason: "no room", waitSeconds: 60 };
  s.mappings.want([forward(81)]);
  await s.time.pass(200_000);
  const maps = s.router.asked.filter((line) => line.startsWith("map 81"));
  t.same(maps, ["map 81 @0", "map 81 @60", "map 81 @120", "map 81 @180"]);
  t.match(s.mappings.status()[0], { state: "failed", reason: "PCP: no room", againAtMs: 1_700_000_000_000 + 260_000 });
  s.router.trouble = undefined;
  await s.time.pass(61_000);
  t.same(words(s), ["81 by pcp"]);
  await s.mappings.stop();
});

t.test("another external port is said, and kept after a restart", async (t) => {
  const s = scene();
  s.router.entries.set("80/tcp", { internalPort: 0, expiresMs: 500_000 });
  s.mappings.want([forward(80)]);
  await s.time.pass(1_000);
  t.same(words(s), ["81 by pcp: instead of 80: another mapping has it"]);
  s.router.restart();
  await s.time.pass(200_000);
  t.same(s.router.mapped(), ["81/tcp -> 80"], "though 80 is free now: people have noted 81");
  t.same(words(s), ["81 by pcp: instead of 80: another mapping has it"]);
  s.mappings.want([forward(80, 443)]);
  await s.time.pass(1_000);
  t.same(s.router.mapped(), ["443/tcp -> 80"], "another wish is another mapping");
  await s.mappings.stop();
});

t.test("without leases it is removed by us, also by the next process", async (t) => {
  const time = new VirtualTime();
  const router = new FakeRouter(time.clock(), "pcp");
  router.permanentOnly = true;
  const first = scene({ time, router });
  first.mappings.want([forward(80), forward(81)]);
  await time.pass(1_000);
  t.match(first.mappings.status()[0], { state: "mapped", untilMs: undefined });
  await first.mappings.stop();
  await time.pass(1e9);
  t.same(router.mapped(), ["80/tcp -> 80", "81/tcp -> 81"], "stopping leaves them");
  const second = scene({ time, router, book: first.book });
  second.mappings.want([forward(81)]);
  await time.pass(1_000);
  t.same(router.mapped(), ["81/tcp -> 81"]);
  t.same(words(second), ["81 by pcp"]);
  await second.mappings.stop();
});

t.test("booked before it is asked for: a process killed in between leaves its successor the word", async (t) => {
  const s = scene();
  s.router.trouble = { kind: "silent", reason: "it is slow" };
  await s.time.pass(1_000);
  s.router.trouble = undefined;
  const save = s.book.save.bind(s.book);
  const order: string[] = [];
  s.book.save = async (mappings) => {
    order.push(`book ${mappings.length} after ${s.router.asked.filter((line) => line.startsWith("map")).length} requests`);
    await save(mappings);
  };
  s.mappings.want([forward(80)]);
  await s.time.pass(1_000);
  t.equal(order.at(-1), "book 1 after 0 requests");
  await s.mappings.stop();
});

t.test("who there is to ask", async (t) => {
  const s = scene();
  s.route = undefined;
  s.mappings.want([forward(80)]);
  await s.time.pass(1_000);
  t.match(words(s), ["no: this host has no default gateway, so there is no router to ask"]);
  t.equal(s.told.at(-1), words(s).join(), "and it was told so");
  s.route = { ...ROUTE, local: ip("11.0.0.9") };
  await s.time.pass(10_000);
  t.match(words(s), [/own address 11.0.0.9 is public/]);
  s.route = ROUTE;
  await s.time.pass(10_000);
  t.same(words(s), ["80 by pcp"]);
  s.route = { ...ROUTE, gateway: ip("192.168.1.254") };
  s.router.entries.clear();
  await s.time.pass(10_000);
  t.same(s.router.mapped(), ["80/tcp -> 80"], "another gateway is asked for everything");
  s.route = undefined;
  await s.time.pass(10_000);
  t.match(words(s), [/no default gateway/]);
  t.same(s.mappings.router(), { route: undefined, via: [] });
  s.route = { ...ROUTE, gateway: ip("192.168.1.254") };
  await s.time.pass(10_000);
  t.same(words(s), ["80 by pcp"], "the same one came back: what it has is known");
  await s.mappings.stop();
});

t.test("what cannot be forwarded says why, each by itself", async (t) => {
  const s = scene();
  const many = Array.from({ length: MAPPINGS_MAX + 1 }, (_, at) => forward(1_000 + at));
  s.mappings.want([
    { ...forward(80), hostAddress: ip("10.9.9.9") },
    { ...forward(81), hostAddress: ROUTE.local },
    ...many.slice(0, -2),
    forward(1_000, 5),
    ...many.slice(-2),
  ]);
  await s.time.pass(1_000);
  const said = words(s);
  t.match(said[0], /published on 10.9.9.9 only/);
  t.equal(said[1], "81 by pcp");
  t.match(said[MAPPINGS_MAX + 1], /one external port already, 1000/);
  t.match(said.slice(-2), [/128 ports and no more/, /128 ports and no more/]);
  s.router.externalAddress = ip("100.64.7.7");
  await s.time.pass(100_000);
  t.match(words(s)[1], /100.64.7.7 is not public: another router stands before it/);
  await s.mappings.stop();
});

t.test("whatever happens, in the end the router has what is wanted and nothing else of ours", async (t) => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("want" as const), ports: fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 5 }) }),
    fc.record({ do: fc.constantFrom("restart", "silence", "refuse", "cannot", "speak", "permanent", "leases", "kill", "away", "back", "theirs") }),
    fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 120_000 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      let s = scene();
      s.other.trouble = { kind: "silent", reason: "no UPnP here" };
      let wanted: readonly number[] = [];
      for (const taken of steps) {
        if ("ports" in taken) wanted = taken.ports;
        if ("ports" in taken) s.mappings.want(wanted.map((port) => forward(port)));
        else if ("ms" in taken) await s.time.pass(taken.ms);
        else if (taken.do === "restart") s.router.restart();
        else if (taken.do === "silence") s.router.trouble = { kind: "silent", reason: "silent" };
        else if (taken.do === "refuse") s.router.trouble = { kind: "refused", reason: "refused" };
        else if (taken.do === "cannot") s.router.trouble = { kind: "cannot", reason: "cannot" };
        else if (taken.do === "speak") s.router.trouble = undefined;
        else if (taken.do === "permanent" || taken.do === "leases") s.router.permanentOnly = taken.do === "permanent";
        else if (taken.do === "away") s.route = undefined;
        else if (taken.do === "back") s.route = ROUTE;
        else if (taken.do === "theirs") s.router.entries.set("3/tcp", { internalPort: 0, expiresMs: Number.POSITIVE_INFINITY });
        else {
          await s.mappings.stop();
          const { route } = s;
          s = scene(s);
          s.route = route;
          s.other.trouble = { kind: "silent", reason: "no UPnP here" };
          s.mappings.want(wanted.map((port) => forward(port)));
        }
      }
      s.mappings.want(wanted.map((port) => forward(port)));
      s.route = ROUTE;
      s.router.trouble = undefined;
      // The longest pause after refusals, and a lease of what nobody could remove.
      await s.time.pass(800_000);
      const ours = s.router.mapped().filter((entry) => !entry.endsWith("-> 0"));
      assert.deepEqual(
        ours.map((entry) => Number(entry.split("-> ")[1])).toSorted((a, b) => a - b),
        [...wanted].toSorted((a, b) => a - b),
      );
      assert.ok(s.mappings.status().every(({ state }) => state === "mapped"));
      for (const status of s.mappings.status()) if (status.state === "mapped") assert.ok(ours.includes(`${status.mappedPort}/tcp -> ${status.port}`));
      await s.mappings.stop();
    }),
    { numRuns: Number(process.env["CC_FUZZ_RUNS"] ?? 60) },
  );
  t.pass("for all of them");
});
