import { generateKeyPairFromSeed } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import fc from "fast-check";
import t from "tap";
import { base58, fromBase58, fromBase64, fromBase64Url, peerIdOf, publicKeyOfPeer } from "../../../src/identity/index.ts";
import { keyPair, value } from "./fixtures.ts";

t.test("a peer's id is libp2p's", async (t) => {
  for (const name of ["a", "b", "c"]) {
    const { seed, signer } = keyPair(name);
    const theirs = peerIdFromPrivateKey(await generateKeyPairFromSeed("Ed25519", seed)).toString();
    t.equal(peerIdOf(signer.publicKey), theirs);
    t.same(value(publicKeyOfPeer(theirs)), signer.publicKey);
  }
});

t.test("any key goes there and back", async () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => Buffer.from(value(publicKeyOfPeer(peerIdOf(key)))).equals(key)));
});

t.test("what is no Ed25519 peer id is refused", async (t) => {
  const good = peerIdOf(keyPair("a").signer.publicKey);
  const others = [
    "",
    "Qmb5FQ9MBBYWPqNNjKFgdAL37FH9bBgFRTwPxsgcVgi4m1",
    good.slice(0, -1),
    `1${good}`,
    `${good}1`,
    good.replace(/.$/, "0"),
    good.toLowerCase(),
    "z".repeat(52),
    "1".repeat(100_000),
  ];
  for (const text of others) t.match(publicKeyOfPeer(text), { ok: false, code: "BAD_REQUEST" }, text.slice(0, 60));
  t.throws(() => peerIdOf(new Uint8Array(31)), RangeError);
});

t.test("encodings have one spelling", async (t) => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => Buffer.from(fromBase58(base58(bytes), bytes.length) ?? []).equals(bytes)));
  t.equal(fromBase58("0OIl", 3), undefined);
  t.equal(fromBase64("AB=="), undefined, "bits that are lost");
  t.same(fromBase64("AA=="), Uint8Array.of(0));
  t.equal(fromBase64("AA"), undefined);
  t.equal(fromBase64Url("AA=="), undefined);
  t.equal(fromBase64Url("A A"), undefined);
  t.equal(fromBase64Url("+/"), undefined);
});
