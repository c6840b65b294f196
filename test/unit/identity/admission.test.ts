import fc from "fast-check";
import t from "tap";
import type { InviteId } from "../../../src/base/index.ts";
import {
  type AdmissionRequest,
  Admissions,
  base64,
  computeAuthority,
  decodeCertificate,
  ed25519Verifier,
  encodeCertificate,
  type InviteLedger,
  type InviteUse,
  inviteIdOf,
  type StampedRecord,
  signBinding,
  verifyHostCertificate,
} from "../../../src/identity/index.ts";
import { CREATED_S, grant, invitation, keyId, keyPair, MESH, PEER, peerId, ROOT, record, request, value } from "./fixtures.ts";

class MemoryLedger implements InviteLedger {
  readonly uses: InviteUse[] = [];
  readonly log: string[] = [];
  fails = false;
  usesOf(inviteId: InviteId): readonly InviteUse[] {
    return this.uses.filter((use) => use.inviteId === inviteId);
  }
  async record(use: InviteUse): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.fails) throw new Error("disk full");
    this.uses.push(use);
    this.log.push(`fsynced ${use.useNumber}`);
  }
}

const ann = record(grant("ann", "admin"));
const invite = record(invitation("attic", { uses: 2 }, { by: "ann" }));
const inviteId = inviteIdOf(keyId("ann"), "invite attic");
const ask = (host: string, changes: Partial<AdmissionRequest> = {}): AdmissionRequest => ({
  invite: inviteId,
  peer: peerId(host),
  binding: base64(signBinding(keyPair("invite attic").signer, inviteId, peerId(host))),
  name: host.replace(" ", "-"),
  ...changes,
});
const setup = (records: readonly StampedRecord[] = [ann, invite], self = "peer 1") => {
  const ledger = new MemoryLedger();
  const admissions = new Admissions({
    self: peerId(self),
    signer: keyPair(self).signer,
    rootPublicKey: ROOT.signer.publicKey,
    ledger,
    verifier: ed25519Verifier,
  });
  const authority = computeAuthority({ rootPublicKey: ROOT.signer.publicKey, records, verifier: ed25519Verifier });
  return { ledger, admit: (asked: AdmissionRequest, atMs = 1_000) => admissions.admit(asked, () => ({ authority, nowMs: CREATED_S * 1000 + atMs })) };
};

t.test("the mesh's time is a median of measured clocks and no whole number; what is written is", async (t) => {
  const { admit, ledger } = setup();
  const certificate = value(await admit(ask("peer 2"), 1_000.375));
  t.ok(decodeCertificate(encodeCertificate(certificate)).ok);
  t.same(
    ledger.uses.map(({ atMs }) => atMs),
    [CREATED_S * 1000 + 1_000],
  );
});

t.test("a joiner gets a certificate that everybody can check", async (t) => {
  const { admit } = setup();
  const certificate = value(await admit(ask("peer 2")));
  t.match(value(verifyHostCertificate(certificate, MESH, ed25519Verifier)), {
    peerId: peerId("peer 2"),
    zone: "attic",
    name: "peer-2",
    issuer: PEER,
    admittedAtMs: CREATED_S * 1000 + 1_000,
  });
});

t.test("the first host admits itself, with an invite of one use to itself", async (t) => {
  const { admit } = setup([ann, record(invitation("attic", {}, { by: "ann" }))]);
  t.ok(verifyHostCertificate(value(await admit(ask("peer 1"))), MESH, ed25519Verifier).ok);
});

t.test("invite-flood: a thousand peer ids at once, an invite for two: two get in", async (t) => {
  const { admit, ledger } = setup();
  const results = await Promise.all([...new Array(40).keys()].map((at) => admit(ask(`flood ${at}`))));
  t.equal(results.filter((result) => result.ok).length, 2);
  t.same(
    ledger.uses.map((use) => use.useNumber),
    [1, 2],
  );
  t.match(results.at(-1), { ok: false, code: "INVITE_USED_UP", message: /2 hosts/ });
});

t.test("the same peer again is free, and gets the same certificate, after the invite's end too", async (t) => {
  const { admit, ledger } = setup();
  const first = encodeCertificate(value(await admit(ask("peer 2"))));
  t.equal(encodeCertificate(value(await admit(ask("peer 2", { name: "other" }), 9_999_999))), first);
  t.equal(ledger.uses.length, 1);
  t.ok((await admit(ask("peer 3"))).ok);
});

t.test("the use is fsynced before the countersignature leaves, and none leaves when that fails", async (t) => {
  const { admit, ledger } = setup();
  await admit(ask("peer 2")).then(() => ledger.log.push("answered"));
  t.same(ledger.log, ["fsynced 1", "answered"]);
  ledger.fails = true;
  await t.rejects(admit(ask("peer 3")), { message: "disk full" });
  ledger.fails = false;
  t.ok((await admit(ask("peer 4"))).ok, "and the next turn comes");
  t.same(
    ledger.uses.map((use) => use.useNumber),
    [1, 2],
  );
});

t.test("what is refused, and what to do", async (t) => {
  const { admit } = setup();
  t.match(await admit(ask("peer 2", { invite: "x" })), { ok: false, code: "INVITE_INVALID" });
  t.match(await admit(ask("peer 2", { invite: inviteIdOf(keyId("ann"), "other") })), { ok: false, code: "INVITE_INVALID", message: /knows no such invite/ });
  t.match(await admit(ask("peer 2", { peer: peerId("peer 3") })), { ok: false, code: "INVITE_INVALID", message: /not signed/ });
  t.match(await admit(ask("peer 2", { binding: "x" })), { ok: false, code: "INVITE_INVALID" });
  t.match(await admit(ask("peer 2", { name: "No Name" })), { ok: false, code: "BAD_REQUEST" });
  t.match(await admit(ask("peer 2"), 3_600_001), { ok: false, code: "INVITE_EXPIRED", message: /cc host invite/ });
  t.match(await setup(undefined, "peer 9").admit(ask("peer 2")), {
    ok: false,
    code: "INVITE_INVALID",
    message: new RegExp(`made at the peer ${PEER}.*another peer`),
  });
});

t.test("a removed host stays out; an invite of a revoked key admits nobody, unless it is kept", async (t) => {
  const removal = record(request("RemoveHost", { token: "r", host: peerId("peer 2") }));
  t.match(await setup([ann, invite, removal]).admit(ask("peer 2")), { ok: false, code: "NOT_A_MEMBER", message: /final/ });
  const revoke = (keep: string[]) => record(request("RevokeKey", { token: "r", key: keyId("ann"), keep }));
  t.match(await setup([ann, invite, revoke([])]).admit(ask("peer 3")), { ok: false, code: "INVITE_INVALID", message: /revoked/ });
  t.ok((await setup([ann, invite, revoke([invite.key])]).admit(ask("peer 3"))).ok);
});

t.test("joiners in line are bounded", async (t) => {
  const { admit } = setup();
  const results = await Promise.all([...new Array(100).keys()].map((at) => admit(ask(`many ${at}`, { binding: "x" }))));
  t.equal(results.filter((result) => !result.ok && result.code === "RATE_LIMITED").length, 36);
});

t.test("fuzz: any request is refused", async () => {
  const { admit } = setup();
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.string(), fc.constant(inviteId)),
      fc.oneof(fc.string(), fc.constant(peerId("peer 2"))),
      fc.string(),
      fc.string(),
      async (invited, peer, binding, name) => !(await admit({ invite: invited, peer, binding, name })).ok,
    ),
  );
});
