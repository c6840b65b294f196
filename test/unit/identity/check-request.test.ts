import fc from "fast-check";
import t from "tap";
import { Cloud } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import {
  actOf,
  checkRequest,
  computeAuthority,
  ed25519Verifier,
  errorOf,
  nonceRefusal,
  type RequestContext,
  type Role,
  roleAllows,
  roleNeeded,
  type SignedRequest,
  type StampedRecord,
  UNSIGNED_CALLS,
} from "../../../src/identity/index.ts";
import { CREATED_S, grant, keyId, MESH, PEER, peerId, ROOT, record, request } from "./fixtures.ts";

const records = [record(grant("ann", "admin")), record(grant("oto", "operator")), record(grant("vic", "viewer"))];
const authorityOf = (all: readonly StampedRecord[]) => computeAuthority({ rootPublicKey: ROOT.signer.publicKey, records: all, verifier: ed25519Verifier });
const NOW_MS = CREATED_S * 1000 + 250;
const context: RequestContext = {
  call: "Run",
  meshId: MESH,
  self: PEER,
  from: "user",
  nowMs: NOW_MS,
  startedAtMs: NOW_MS - 3_600_000,
  authority: authorityOf(records),
  verifier: ed25519Verifier,
};
const run = request("Run", { token: "t" }, { by: "oto" });
const check = (signed: SignedRequest, changes: Partial<RequestContext> = {}) => checkRequest(signed, { ...context, ...changes });

t.test("a user's own request", async (t) => {
  t.match(check(run), {
    ok: true,
    value: { keyId: keyId("oto"), role: "operator", isRoot: false, name: "oto", call: "Run", addressed: PEER, createdS: CREATED_S },
  });
  t.match(check(request("CreateKey", { token: "t" }), { call: "CreateKey" }), { ok: true, value: { isRoot: true, role: "admin" } });
});

t.test("what is refused, and why", async (t) => {
  const { body } = run;
  const revoked = authorityOf([...records, record(request("RevokeKey", { token: "r", key: keyId("oto") }))]);
  t.match(check(request("Run", {}, { by: "eve" })), { ok: false, code: "UNAUTHENTICATED", message: /no key/ });
  t.match(check({ ...run, body: Buffer.concat([body, Buffer.from(" ")]) }), { ok: false, code: "UNAUTHENTICATED", message: /signature/ });
  t.match(check({ ...run, signatureInput: "x" }), { ok: false, code: "UNAUTHENTICATED" });
  t.match(check(run, { authority: revoked }), { ok: false, code: "KEY_REVOKED" });
  t.match(check(run, { call: "Stop" }), { ok: false, code: "UNAUTHENTICATED", message: /another call/ });
  t.match(check(request("Run", {}, { by: "oto", mesh: "m".repeat(32) })), { ok: false, code: "WRONG_MESH" });
  t.match(check(run, { self: peerId("peer 2") }), { ok: false, code: "WRONG_PEER" });
  t.match(check(request("Run", {}, { by: "vic" })), { ok: false, code: "FORBIDDEN", message: /"vic" is a viewer's; Run needs the role operator/ });
  t.match(check(request("CreateKey", {}, { by: "oto" }), { call: "CreateKey" }), { ok: false, code: "FORBIDDEN" });
  const mole = record(grant("mole", "operator", { by: "eve" }));
  const voided = authorityOf([record(grant("eve", "admin")), mole, record(request("RevokeKey", { token: "r", key: keyId("eve") }))]);
  t.match(check(request("Run", {}, { by: "mole" }), { authority: voided }), { ok: false, code: "UNAUTHENTICATED", message: /no key/ });
});

t.test("whoever lost a key may end it, whatever its role, and no other key", async (t) => {
  const revoke = (name: string) => request("RevokeKey", { token: "r", key: keyId(name) }, { by: "vic" });
  t.ok(check(revoke("vic"), { call: "RevokeKey" }).ok);
  t.match(check(revoke("oto"), { call: "RevokeKey" }), { ok: false, code: "FORBIDDEN" });
});

t.test("a clock that is off learns the peer's time", async (t) => {
  t.ok(check(run, { nowMs: CREATED_S * 1000 + 300_000 }).ok);
  t.ok(check(run, { nowMs: CREATED_S * 1000 - 300_000 }).ok);
  for (const nowMs of [CREATED_S * 1000 + 300_001, CREATED_S * 1000 - 300_001]) {
    const refused = check(run, { nowMs });
    t.match(refused, { ok: false, code: "CLOCK_SKEW", details: { timeMs: String(nowMs) } });
    if (!refused.ok) t.match(errorOf(refused), { code: "CLOCK_SKEW", details: { timeMs: String(nowMs) } });
  }
});

t.test("what was signed before this peer started could be a replay", async (t) => {
  t.ok(check(run, { startedAtMs: CREATED_S * 1000 }).ok);
  t.match(check(run, { startedAtMs: CREATED_S * 1000 + 1 }), {
    ok: false,
    code: "CLOCK_SKEW",
    details: { timeMs: String(NOW_MS), notBeforeS: String(CREATED_S + 1) },
  });
});

t.test("what another peer passes on has to address that peer, or any where the caller may be a third", async (t) => {
  const self = peerId("peer 2");
  t.match(check(run, { self, from: { addressed: [PEER] } }), { ok: true, value: { addressed: PEER } });
  t.match(check(run, { self, from: { addressed: [peerId("liar")] } }), { ok: false, code: "WRONG_PEER" });
  t.ok(check(run, { self, from: { addressed: "any" } }).ok);
  t.match(check(request("Run", { token: "t" }, { by: "oto", peer: "nobody" as never }), { self, from: { addressed: "any" } }), {
    ok: false,
    code: "WRONG_PEER",
  });
});

t.test("a nonce's act is named by key, nonce, step and id; its refusals carry what a client needs", async (t) => {
  const checked = check(run);
  if (!checked.ok) throw new Error(checked.message);
  t.same(actOf(checked.value, "award", "c1"), { keyId: keyId("oto"), nonce: checked.value.nonce, createdS: CREATED_S, step: "award", id: "c1" });
  t.match(nonceRefusal("seen", 1), { code: "REPLAYED" });
  t.match(nonceRefusal("full", 1), { code: "RATE_LIMITED" });
  t.match(nonceRefusal("forgotten", 1), { code: "CLOCK_SKEW", details: { timeMs: "1" } });
});

t.test("roles: every call of the contract has its line; a viewer changes nothing, and a call that nobody knows is for admins", async (t) => {
  const calls = [...Cloud.methods.map(({ name }) => name).filter((name) => !UNSIGNED_CALLS.includes(name)), "Logs", "Attach", "Exec", "Push", "Tunnel"];
  const table: Record<Role, string[]> = { viewer: [], operator: [], admin: [] };
  for (const call of calls) table[roleNeeded(call)].push(call);
  t.same(table, {
    viewer: [
      "WhoAmI",
      "ListContainers",
      "ContainerStatus",
      "Resolve",
      "ListVolumes",
      "InspectVolumes",
      "ListVpcs",
      "InspectVpcs",
      "ListFirewallRules",
      "ListHosts",
      "ListKeys",
      "Inspect",
      "Wait",
      "Metrics",
      "ListImages",
    ],
    operator: [
      "Run",
      "Stop",
      "Start",
      "Restart",
      "Remove",
      "CreateVolume",
      "DeleteVolumes",
      "CreateVpc",
      "DeleteVpcs",
      "CreateFirewallRule",
      "RemoveFirewallRules",
      "MissingBlobs",
      "RemoveImages",
      "Logs",
      "Attach",
      "Exec",
      "Push",
      "Tunnel",
    ],
    admin: ["CreateInvite", "RemoveHost", "CreateKey", "RevokeKey"],
  });
  for (const call of ["", "toString", "__proto__", "Later"]) t.notOk(roleAllows("operator", call), call);
  t.ok(roleAllows("admin", "Later"));
});

t.test("fuzz: any body, input and signature gives a refusal", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((json) => Buffer.from(json)),
      ),
      fc.oneof(fc.string(), fc.constant(run.signatureInput)),
      fc.oneof(fc.string(), fc.constant(run.signature)),
      (body, signatureInput, signature) => !check({ body, signatureInput, signature }).ok,
    ),
  );
});
