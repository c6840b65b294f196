import t from "tap";
import {
  type Authority,
  computeAuthority,
  ed25519Verifier,
  type HostCertificate,
  memberStanding,
  type SignedRequest,
  type StampedRecord,
  userRecordCounts,
  verifyHostCertificate,
} from "../../../src/identity/index.ts";
import { CREATED_S, certificateOf, grant, keyId, MESH, PEER, peerId, ROOT, record, request, type SignOptions, type StampOptions, value } from "./fixtures.ts";

const authorityOf = (records: readonly StampedRecord[] = []): Authority =>
  computeAuthority({ rootPublicKey: ROOT.signer.publicKey, records, verifier: ed25519Verifier });
const identityOf = (certificate: HostCertificate) => value(verifyHostCertificate(certificate, MESH, ed25519Verifier));
const revoke = (name: string, fields: object = {}, options: SignOptions = {}) =>
  request("RevokeKey", { token: `revoke ${name}`, key: keyId(name), ...fields }, options);
const remove = (name: string, fields: object = {}) => request("RemoveHost", { token: `remove ${name}`, host: peerId(name), ...fields });
const counts = (authority: Authority, signed: SignedRequest, stamp: StampOptions = {}) =>
  userRecordCounts(
    authority,
    signed,
    { writer: stamp.writer ?? PEER, timeMs: CREATED_S * 1000 + (stamp.atMs ?? 0), counter: stamp.counter ?? 0 },
    ed25519Verifier,
  );

t.test("user/ records", async (t) => {
  const ann = record(grant("ann", "admin"));
  const oto = record(grant("oto", "operator", { by: "ann" }));
  const run = request("Run", { token: "t", spec: { image: "alpine" } }, { by: "oto" });

  t.test("count when a key that may signed them, and the peer that they address stamped them in time", async (t) => {
    const authority = authorityOf([ann, oto, record(grant("vic", "viewer"))]);
    t.match(counts(authority, run), { standing: "counts", keyId: keyId("oto"), role: "operator", call: "Run" });
    t.match(counts(authority, request("Run", {}, { by: "vic" })), { standing: "void", reason: /viewer/ });
    t.match(counts(authority, run, { writer: peerId("liar") }), { standing: "void", reason: /does not address/ });
    t.match(counts(authority, run, { atMs: 300_001 }), { standing: "void", reason: /5 minutes/ });
    t.match(counts(authority, run, { atMs: -300_001 }), { standing: "void" });
    t.match(counts(authority, request("Run", {}, { by: "oto", mesh: "m".repeat(32) })), { standing: "void", reason: /another mesh/ });
    t.match(counts(authority, { ...run, body: Buffer.from(Buffer.from(run.body).toString().replace("alpine", "beta")) }), {
      standing: "void",
      reason: /signature/,
    });
    t.match(counts(authority, { ...run, signatureInput: "x" }), { standing: "void" });
  });

  t.test("wait while their key is not known", async (t) => {
    t.same(counts(authorityOf([ann]), run), { standing: "waits", keyId: keyId("oto") });
    t.match(counts(authorityOf([ann, oto]), run), { standing: "counts" });
  });

  t.test("revoked-owner: revoking a key deletes nothing that was stamped before, and lets nothing in after", async (t) => {
    const authority = authorityOf([ann, oto, record(revoke("oto", {}, { by: "ann" }), { atMs: 60_000, counter: 5 })]);
    t.match(counts(authority, run, { atMs: 60_000, counter: 4 }), { standing: "counts" });
    t.match(counts(authority, run, { atMs: 60_000, counter: 5 }), { standing: "void", reason: /revoked/ });
    t.match(counts(authority, run, { atMs: 61_000 }), { standing: "void" });
  });

  t.test("revoked-owner: nor does revoking the admin above, even if its list forgot the key", async (t) => {
    const authority = authorityOf([ann, oto, record(revoke("ann"), { atMs: 60_000 })]);
    t.equal(authority.keys.get(keyId("oto"))?.state, "void");
    t.match(counts(authority, run, { atMs: 59_999 }), { standing: "counts" });
    t.match(counts(authority, run, { atMs: 60_000 }), { standing: "void" });
  });

  t.test("back-door: an operator that revoked Eve made afterwards has no say", async (t) => {
    const mole = record(grant("mole", "operator", { by: "eve" }), { atMs: 90_000 });
    const authority = authorityOf([record(grant("eve", "admin")), record(revoke("eve"), { atMs: 60_000 }), mole]);
    t.match(counts(authority, request("Run", {}, { by: "mole" }), { atMs: 90_000 }), { standing: "void" });
  });
});

t.test("members", async (t) => {
  const ann = grant("ann", "admin");
  const certificate = certificateOf("peer 2", { by: "ann", chain: [ann] });
  const host = identityOf(certificate);
  const inviteKey = host.invite.recordKey;

  t.test("a certificate stands on its own chain, before any record has come", async (t) => {
    t.same(memberStanding(host, authorityOf()), { standing: "member" });
    t.same(memberStanding(host, authorityOf([record(ann)])), { standing: "member" });
  });

  t.test("a certificate of another mesh's root does not", async (t) => {
    const other = computeAuthority({ rootPublicKey: host.grants[0]?.publicKey ?? new Uint8Array(), records: [], verifier: ed25519Verifier });
    t.match(memberStanding(host, other), { standing: "void" });
  });

  t.test("back-door: an invite of a revoked key is void unless the list names it, records known or not", async (t) => {
    for (const records of [[record(ann)], []]) {
      t.match(memberStanding(host, authorityOf([...records, record(revoke("ann"))])), { standing: "void", reason: /revoked/ });
      t.match(memberStanding(host, authorityOf([...records, record(revoke("ann", { keep: [inviteKey] }))])), { standing: "member" });
    }
    const all = record(revoke("ann", { keepAll: true }), { atMs: 60_000 });
    t.match(memberStanding(host, authorityOf([record(ann), all, record(certificate.invite)])), { standing: "member" }, "known, and before");
    t.match(memberStanding(host, authorityOf([record(ann), all])), { standing: "void" }, "known to nobody");
  });

  t.test("a key between root and signer takes what is below with it, unless kept", async (t) => {
    const bob = grant("bob", "admin", { by: "ann" });
    const below = identityOf(certificateOf("peer 3", { by: "bob", chain: [ann, bob] }));
    t.match(memberStanding(below, authorityOf([record(ann), record(bob), record(revoke("ann"))])), { standing: "void" });
    t.match(memberStanding(below, authorityOf([record(ann), record(bob), record(revoke("ann", { keep: [record(bob).key] }))])), { standing: "member" });
    t.match(
      memberStanding(below, authorityOf([record(revoke("ann")), record(bob), record(grant("bob", "admin"))])),
      { standing: "member" },
      "another way to the same key",
    );
  });

  t.test("removed is final", async (t) => {
    t.same(memberStanding(host, authorityOf([record(remove("peer 2"))])), { standing: "removed" });
  });

  t.test("removed-sponsor: the removal says which certificates of the host it removed stay", async (t) => {
    t.match(memberStanding(host, authorityOf([record(remove("peer 1"))])), { standing: "void", reason: /admitted it/ });
    t.match(memberStanding(host, authorityOf([record(remove("peer 1", { certificatesKept: [peerId("peer 2")] }))])), { standing: "member" });
    t.match(memberStanding(host, authorityOf([record(remove("peer 1", { allCertificates: true }), { atMs: 60_001 })])), { standing: "member" });
    t.match(
      memberStanding(host, authorityOf([record(remove("peer 1", { allCertificates: true }), { atMs: 60_000 })])),
      { standing: "void" },
      "countersigned after it was removed",
    );
    t.match(memberStanding(host, authorityOf([record(remove("peer 9"))])), { standing: "member" }, "another's removal");
  });
});
