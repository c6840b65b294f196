import fc from "fast-check";
import t from "tap";
import {
  CERTIFICATE_CHAIN_MAX,
  decodeCertificate,
  ed25519Verifier,
  encodeCertificate,
  type HostCertificate,
  keyIdOf,
  meshIdOf,
  verifyHostCertificate,
} from "../../../src/identity/index.ts";
import { CREATED_S, certificateOf, grant, invitation, keyId, keyPair, MESH, peerId, request, value } from "./fixtures.ts";

const chain = [grant("ann", "admin"), grant("bob", "admin", { by: "ann" })];
const certificate = certificateOf("peer 2", { by: "bob", chain, issuer: "peer 1" });
const check = (changed: HostCertificate, mesh = MESH) => verifyHostCertificate(changed, mesh, ed25519Verifier);

t.test("a certificate says who was admitted where, by whom and on whose word", async (t) => {
  const identity = value(check(certificate));
  t.match(identity, { peerId: peerId("peer 2"), zone: "attic", name: "peer-2", issuer: peerId("peer 1"), admittedAtMs: CREATED_S * 1000 + 60_000 });
  t.same(identity.keyIds, [keyIdOf(keyPair("root").signer.publicKey), keyId("ann"), keyId("bob")]);
  t.ok(check(certificateOf("peer 2")).ok, "an invite signed by the root itself");
});

t.test("text there and back", async (t) => {
  const text = encodeCertificate(certificate);
  t.same(value(decodeCertificate(text)), value(decodeCertificate(encodeCertificate(value(decodeCertificate(text))))));
  t.equal(encodeCertificate(value(decodeCertificate(text))), text);
  t.ok(text.length < 4_096, `${text.length} bytes with a chain of two keys`);
});

t.test("each part is needed", async (t) => {
  const { countersignature } = certificate;
  const eve = keyPair("eve");
  const changes: Record<string, HostCertificate> = {
    "another root": { ...certificate, rootPublicKey: eve.signer.publicKey },
    "no chain": { ...certificate, chain: [] },
    "a link missing": { ...certificate, chain: chain.slice(1) },
    "links in another order": { ...certificate, chain: [...chain].reverse() },
    "too many links": { ...certificate, chain: [...new Array(CERTIFICATE_CHAIN_MAX + 1).keys()].map((at) => grant(`a${at}`, "admin")) },
    "an operator in the chain": { ...certificate, chain: [grant("ann", "admin"), grant("bob", "operator", { by: "ann" })] },
    "a link that is no key": { ...certificate, chain: [...chain, request("RevokeKey", { token: "t", key: keyId("ann") })] },
    "a link of another mesh": { ...certificate, chain: [grant("ann", "admin", { mesh: "m".repeat(32) }), grant("bob", "admin", { by: "ann" })] },
    "an invite that is none": { ...certificate, invite: grant("ann", "admin") },
    "an invite of a stranger": { ...certificate, invite: invitation("peer 2", {}, { by: "eve" }) },
    "an invite for another zone": { ...certificate, invite: invitation("peer 2", { zone: "cellar" }, { by: "bob" }) },
    "another peer": { ...certificate, peerId: peerId("eve") },
    "another name": { ...certificate, name: "eve" },
    "another time": { ...certificate, countersignature: { ...countersignature, atMs: countersignature.atMs + 1 } },
    "another use": { ...certificate, countersignature: { ...countersignature, useNumber: 2 } },
    "another issuer's word": { ...certificate, countersignature: { ...countersignature, signature: eve.signer.sign(Buffer.from("x")) } },
    "no binding": { ...certificate, binding: new Uint8Array(64) },
  };
  for (const [name, changed] of Object.entries(changes)) t.notOk(check(changed).ok, name);
  t.match(check(certificate, meshIdOf(eve.signer.publicKey)), { ok: false, code: "WRONG_MESH" });
});

t.test("invite-flood: neither more uses nor later than the invite says, whoever countersigned", async (t) => {
  t.ok(check(certificateOf("peer 2", { uses: 2, useNumber: 2 })).ok);
  t.match(check(certificateOf("peer 2", { uses: 2, useNumber: 3 })), { ok: false, message: /no use left/ });
  t.ok(check(certificateOf("peer 2", { atMs: CREATED_S * 1000 + 3_600_000 })).ok);
  t.match(check(certificateOf("peer 2", { atMs: CREATED_S * 1000 + 3_600_001 })), { ok: false, message: /was over/ });
});

t.test("fuzz: any text is decoded or refused; one with a letter changed never holds as something else", async () => {
  const text = encodeCertificate(certificate);
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (any) => !decodeCertificate(any).ok));
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom(...'aB0_-=+{}[]",:1'), (at, letter) => {
      const decoded = decodeCertificate(text.slice(0, at) + letter + text.slice(at + 1));
      return !decoded.ok || !check(decoded.value).ok || encodeCertificate(decoded.value) === text;
    }),
    { numRuns: 400 },
  );
});
