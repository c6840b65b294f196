import t from "tap";
import { createAdmitted } from "../../../nodes/peer/core/admitted.ts";
import { ed25519Verifier, encodeCertificate, type Verifier } from "../../../src/identity/index.ts";
import { certificateOf, MESH, peerId } from "../identity/fixtures.ts";
import { certificate, Desk, grants, removes } from "../state/view-fixtures.ts";

const shown = (host: string): string => encodeCertificate(certificateOf(host));

function admittedAt(desk: Desk, verifier: Verifier = ed25519Verifier) {
  return createAdmitted({
    self: peerId("peer 1"),
    meshId: MESH,
    verifier,
    authority: () => desk.view.authority(),
    members: () => desk.view.memberIds(),
  });
}

t.test("a member by its record is admitted, nobody else", async (t) => {
  const admitted = admittedAt(new Desk().take(certificate("peer 1"), certificate("peer 2")));
  t.ok(admitted.has(peerId("peer 2")));
  t.notOk(admitted.has(peerId("peer 3")));
  t.same(new Set(admitted.peers()), new Set([peerId("peer 1"), peerId("peer 2")]));
});

t.test("who shows a certificate that holds is admitted before its record is here", async (t) => {
  const desk = new Desk().take(certificate("peer 1"));
  const admitted = admittedAt(desk);
  t.notOk(admitted.has(peerId("peer 2")));
  t.equal(admitted.introduce(shown("peer 2"), ["/dns4/b/tcp/1"]).ok, true);
  t.ok(admitted.has(peerId("peer 2")));
  t.same(admitted.addressesOf(peerId("peer 2")), ["/dns4/b/tcp/1"]);
  admitted.introduce(shown("peer 2"), ["/dns4/new/tcp/1", ...Array.from({ length: 50 }, (_, at) => `/dns4/x${at}/tcp/1`)]);
  t.equal(admitted.addressesOf(peerId("peer 2")).length, 16, "as many addresses as a host may have");
  desk.take(certificate("peer 2"));
  t.equal(admitted.peers().filter((peer) => peer === peerId("peer 2")).length, 1, "named once");
});

t.test("one that was removed is refused, shown before the removal or after it", async (t) => {
  const desk = new Desk().take(certificate("peer 1"), grants("adam", "admin"));
  const admitted = admittedAt(desk);
  admitted.introduce(shown("peer 2"), []);
  t.ok(admitted.has(peerId("peer 2")));
  desk.take(removes("peer 2"));
  t.notOk(admitted.has(peerId("peer 2")), "as soon as the removal is here");
  admitted.introduce(shown("peer 2"), []);
  t.notOk(admitted.has(peerId("peer 2")), "showing it again does not help");
});

t.test("what is no certificate of this mesh is a refusal", async (t) => {
  const admitted = admittedAt(new Desk().take(certificate("peer 1")));
  const good = shown("peer 2");
  const flipped = `${good.slice(0, -20)}${good.at(-20) === "A" ? "B" : "A"}${good.slice(-19)}`;
  for (const text of ["", "x", good.slice(0, 40), flipped, `${good}${good}`]) {
    t.match(admitted.introduce(text, []), { ok: false, code: /NOT_A_MEMBER|BAD_REQUEST|INVITE_INVALID|INVITE_/ }, text.slice(0, 10));
  }
  t.same(admitted.peers(), [peerId("peer 1")]);
});

t.test("a certificate that was found to hold is not checked again, one that does not is", async (t) => {
  const desk = new Desk().take(certificate("peer 1"));
  let checks = 0;
  const verifier: Verifier = {
    verify: (...of) => {
      checks += 1;
      return ed25519Verifier.verify(...of);
    },
  };
  const admitted = admittedAt(desk, verifier);
  const text = shown("peer 2");
  t.equal(admitted.introduce(text, []).ok, true);
  const first = checks;
  t.ok(first > 0);
  t.equal(admitted.introduce(text, ["/dns4/b/tcp/1"]).ok, true);
  t.equal(checks, first);
  t.same(admitted.addressesOf(peerId("peer 2")), ["/dns4/b/tcp/1"], "but what it says of its addresses counts");
  const forged = encodeCertificate({ ...certificateOf("peer 3"), binding: new Uint8Array(64) });
  t.equal(admitted.introduce(forged, []).ok, false);
  const second = checks;
  t.equal(admitted.introduce(forged, []).ok, false);
  t.ok(checks > second);
});

t.test("this host itself is not among the introduced", async (t) => {
  const admitted = admittedAt(new Desk());
  t.equal(admitted.introduce(shown("peer 1"), ["/dns4/a/tcp/1"]).ok, true);
  t.same(admitted.addressesOf(peerId("peer 1")), []);
});

t.test("introductions are bounded", async (t) => {
  const admitted = admittedAt(new Desk());
  admitted.introduce(shown("first"), []);
  for (let at = 0; at < 1_024; at += 1) admitted.introduce(shown(`host ${at}`), []);
  t.notOk(admitted.has(peerId("first")), "the oldest is forgotten");
  t.ok(admitted.has(peerId("host 1023")));
  t.equal(admitted.peers().length, 1_024);
});
