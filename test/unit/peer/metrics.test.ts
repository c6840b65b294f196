import t from "tap";
import { metricsHandlers } from "../../../nodes/peer/core/handlers/metrics.ts";
import { CcError } from "../../../src/base/index.ts";
import { peerId } from "../identity/fixtures.ts";

const SELF = peerId("peer 1");
const [NEAR, FAR, SILENT] = [peerId("peer 2"), peerId("peer 3"), peerId("peer 4")];
const id = (letter: string): string => `c${letter.repeat(20)}`;
/** Where each container is, by its name. */
const HELD = { here: [id("a"), SELF], idle: [id("b"), SELF], near: [id("c"), NEAR], far: [id("d"), FAR], silent: [id("e"), SILENT] } as const;
const NO_REQUEST = {};
const used = (seconds: number) => ({ readAtMs: 1, cpu: { usedSeconds: seconds, limitCores: 0, throttledSeconds: 0 }, interfaces: [] });

/** The handlers of a peer that holds two of five containers; what other hosts are asked is noted. */
function peer(named: readonly string[]) {
  const asked: { readonly host: string; readonly containers: readonly string[]; readonly request: unknown }[] = [];
  const all = Object.entries(HELD).map(([name, [container, holder]]) => ({
    id: container,
    name,
    zone: "a",
    claims: [],
    best: { holder, epoch: 1 },
    gone: false,
    request: { body: new Uint8Array(), signatureInput: "", signature: "" },
    phase: { phase: "running" },
  }));
  const byId = new Map(all.map((container) => [container.id as string, container]));
  let answers: ((request: object, from: string) => Promise<{ containers: readonly { id: string }[] }>) | undefined;
  const signed = { body: Buffer.from(JSON.stringify({ containers: named })), signatureInput: "i", signature: "s" };
  const caller = { signed, role: "viewer" };
  const parts = {
    self: SELF,
    clock: { nowMs: () => 1 },
    view: {
      container: (which: string) => byId.get(which),
      byName: (name: string) => all.filter((one) => one.name === name).map((one) => one.id),
      members: () => [],
      member: (host: string) => ({ name: host === FAR ? "cellar" : "attic" }),
    },
    liveness: { of: (host: string) => ({ standing: host === FAR ? "unreachable" : "alive", heardAtMs: 1 }) },
    replica: {},
    authenticator: {
      passedOn: async (call: string, request: unknown, via: string) => {
        if (call !== "Metrics" || request !== signed || via !== NEAR) throw new CcError("UNAUTHENTICATED", "not the user's own request");
        return caller;
      },
    },
    mesh: {
      self: SELF,
      handle: (_name: string, handler: typeof answers) => {
        answers = handler;
      },
      call: async (host: string, _name: string, { containers, request }: { containers: readonly string[]; request: unknown }) => {
        asked.push({ host, containers, request });
        if (host === SILENT) throw new CcError("TIMEOUT", "no answer within 2000 ms");
        // A host that lies about what it was not asked for.
        return { containers: [...containers, HELD.here[0]].map((container) => ({ id: container, ...used(2) })) };
      },
    },
  };
  const runtime = { metrics: async (which: string) => (which === HELD.here[0] ? used(1) : undefined) };
  const handlers = metricsHandlers(parts as never, runtime as never, async () => []);
  const ask = () => handlers.metrics({ containers: named } as never, { caller, signal: new AbortController().signal } as never);
  const passOn = async (containers: readonly string[], from: string = NEAR, request: object | undefined = signed) => {
    if (answers === undefined) throw new Error("nobody answers");
    return await answers({ request: request === NO_REQUEST ? undefined : request, containers }, from);
  };
  return { ask, asked, passOn, signed };
}

t.test("each host is asked once, with the user's request; who is silent or away is named, the others are shown", async (t) => {
  const { ask, asked, signed } = peer(["silent", "near", "here", "idle", "far", HELD.near[0], "nobody"]);
  const reply = await ask();
  t.match(reply.containers, [
    { name: "near", running: true, cpu: { usedSeconds: 2 } },
    { name: "here", running: true, cpu: { usedSeconds: 1 } },
    { name: "idle", running: false, phase: "running" },
  ]);
  t.equal(reply.containers?.length, 3, "the same by its id and its name is one");
  t.match(
    reply.errors?.toSorted((a, b) => ((a.item ?? "") < (b.item ?? "") ? -1 : 1)),
    [
      { item: "far", code: "HOST_UNREACHABLE", message: "its host cellar cannot be reached" },
      { item: "nobody", code: "NOT_FOUND" },
      { item: "silent", code: "HOST_UNREACHABLE", message: "its host attic did not tell (no answer within 2000 ms)" },
    ],
  );
  t.same(asked.map(({ host }) => host).toSorted(), [NEAR, SILENT].toSorted(), "nobody asks an unreachable host");
  t.ok(asked.every(({ request }) => request === signed));
});

t.test("a holder tells only what the user named, and only on the user's own request", async (t) => {
  const { passOn } = peer(["here"]);
  t.match(await passOn([HELD.here[0], HELD.idle[0], HELD.near[0]]), { containers: [{ id: HELD.here[0] }] });
  t.same((await peer(["near"]).passOn([HELD.here[0]])).containers, [], "the peer in between does not choose it");
  await t.rejects(passOn([HELD.here[0]], FAR), { code: "UNAUTHENTICATED" });
  await t.rejects(passOn([HELD.here[0]], NEAR, NO_REQUEST), { code: "BAD_REQUEST" });
});

t.test("nobody, and more than a call may name", async (t) => {
  await t.rejects(peer([]).ask(), { code: "BAD_REQUEST" });
  await t.rejects(peer(Array.from({ length: 1_001 }, (_, at) => `n${at}`)).ask(), { code: "BAD_REQUEST" });
});
