import fc from "fast-check";
import t from "tap";
import { toMessage } from "../../../nodes/peer/core/authenticate.ts";
import { createRunRequests, readRun } from "../../../nodes/peer/core/run-requests.ts";
import { ed25519Verifier, type SignedRequest } from "../../../src/identity/index.ts";
import { containerIdOf } from "../../../src/placement/index.ts";
import type { StoredRecord } from "../../../src/state/index.ts";
import { CREATED_S, keyId, MESH, peerId, request } from "../identity/fixtures.ts";
import { certificate, Desk, grants, revokes } from "../state/view-fixtures.ts";

const MIB = 1024 ** 2;
const TOKEN = "token-of-a-run";
const SPEC = { image: "alpine", name: "web", memoryBytes: 32 * MIB, diskBytes: 64 * MIB, cpuShares: 2, command: ["serve"] };
const run = (fields: object = {}, spec: object = {}, by = "ann"): SignedRequest =>
  request("Run", { token: TOKEN, spec: { ...SPEC, ...spec }, ...fields }, { by });

function requestsAt(nowMs: number, ...records: readonly StoredRecord[]) {
  const desk = new Desk().take(certificate("peer 1"), certificate("peer 2"), grants("ann", "operator"), grants("vic", "viewer"), ...records);
  const time = { nowMs: () => nowMs, startedAtMs: () => 0, isSure: () => true, untilSure: async () => undefined, stop: () => undefined };
  return createRunRequests({ self: peerId("peer 2"), meshId: MESH, time, verifier: ed25519Verifier, authority: () => desk.view.authority() });
}

t.test("a run is read whole", async (t) => {
  const read = readRun(run({ askedBefore: [peerId("peer 2"), "nobody"], attach: true }, { zone: "attic", host: "h1", labels: { a: "b" } }));
  if (!read.ok) throw new Error(read.message);
  const { asked, spec, attach, explain } = read.value;
  t.match(asked, { key: keyId("ann"), token: TOKEN, addressedTo: peerId("peer 1"), signedAtMs: CREATED_S * 1_000, askedBefore: [peerId("peer 2")] });
  t.match(asked.requirements, { name: "web", image: "alpine", memoryBytes: 32 * MIB, diskBytes: 64 * MIB, cpuShares: 2, zone: "attic", host: "h1" });
  t.equal(spec.id, containerIdOf(keyId("ann"), TOKEN), "the id follows from key and token");
  t.same([attach, explain], [true, false]);
});

t.test("the same spec gives the same text, whatever the order in its maps", async (t) => {
  const textOf = (spec: object): string => {
    const read = readRun(run({}, spec));
    if (!read.ok) throw new Error(read.message);
    return read.value.asked.spec;
  };
  const one = textOf({ env: { A: "1", B: "2" }, labels: { x: "1", y: "2" } });
  t.equal(textOf({ labels: { y: "2", x: "1" }, env: { B: "2", A: "1" } }), one);
  t.not(textOf({ env: { A: "1", B: "3" }, labels: { x: "1", y: "2" } }), one);
  t.not(textOf({ env: { A: "1", B: "2" } }), one);
});

t.test("what cannot be run is a refusal that says why", async (t) => {
  for (const [signed, message] of [
    [run({ token: "short" }), /token/],
    [run({ token: "a token with spaces" }), /token/],
    [run({}, { zone: "Not A Zone" }), /zone/],
    [run({}, { image: "UPPER/case" }), /./],
    [run({ spec: null }), /./],
    [run({ nonsense: 1 }), /Run/],
    [request("Stop", { token: TOKEN, containers: [] }, { by: "ann" }), /not a Run/],
    [{ ...run(), body: Buffer.from("no JSON") }, /./],
    [{ ...run(), signatureInput: "" }, /./],
  ] as const) {
    const read = readRun(signed);
    t.match(read, { ok: false, message }, Buffer.from(signed.body).toString("utf8").slice(0, 60));
  }
});

t.test("any body is a run or a refusal", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.json().map((text) => Buffer.from(text)),
        fc.uint8Array({ maxLength: 200 }),
        fc.object().map((spec) => Buffer.from(JSON.stringify({ to: { call: "Run", mesh: MESH, peer: peerId("peer 1") }, token: TOKEN, spec }))),
      ),
      (body) => {
        const read = readRun({ ...run(), body });
        if (!read.ok && read.code === "INTERNAL") throw new Error(read.message);
      },
    ),
    { numRuns: 500 },
  );
});

t.test("whoever acts checks the user's signature itself", async (t) => {
  const atOnce = CREATED_S * 1_000 + 500;
  t.match(await requestsAt(atOnce).check(toMessage(run())), { ok: true, value: { token: TOKEN } }, "addressed to another peer, which passed it on");
  const signed = run();
  const changed = { ...signed, body: Buffer.from(Buffer.from(signed.body).toString("utf8").replace("serve", "other")) };
  t.match(await requestsAt(atOnce).check(toMessage(changed)), { ok: false, code: "UNAUTHENTICATED" }, "changed on the way");
  t.match(await requestsAt(atOnce).check(toMessage(run({}, {}, "vic"))), { ok: false, code: "FORBIDDEN" }, "a viewer runs nothing");
  t.match(await requestsAt(atOnce).check(toMessage(run({}, {}, "nobody"))), { ok: false, code: /UNAUTHENTICATED|KEY/ });
  t.match(await requestsAt(atOnce, revokes("ann")).check(toMessage(run())), { ok: false }, "a revoked key runs nothing");
  t.match(await requestsAt(atOnce + 3_600_000).check(toMessage(run())), { ok: false }, "an hour later it is too old");
  t.equal((await requestsAt(atOnce + 3_600_000).read(toMessage(run()))).ok, true, "but it can be read at any age: records keep it");
});
