import { createPublicKey, verify } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { isKeyId, isMeshId } from "../../../src/base/index.ts";
import { systemRandom } from "../../../src/host/index.ts";
import {
  createEd25519Verifier,
  formatAccessToken,
  formatRecoveryKey,
  formatSecretKey,
  generateKeyPair,
  keyIdOf,
  meshIdOf,
  parseAccessToken,
  parseRecoveryKey,
  parseSecretKey,
  signerFromSeed,
} from "../../../src/identity/index.ts";
import { keyId, keyPair, MESH, value } from "./fixtures.ts";

t.test("RFC 8032, test 1: key and signature of the empty message", async (t) => {
  const signer = signerFromSeed(Buffer.from("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "hex"));
  t.equal(Buffer.from(signer.publicKey).toString("hex"), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const signature = signer.sign(new Uint8Array());
  t.equal(
    Buffer.from(signature).toString("hex"),
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  );
  t.ok(createEd25519Verifier().verify(signer.publicKey, new Uint8Array(), signature));
});

t.test("a key pair is new each time, and its texts lead back to it", async (t) => {
  const pair = generateKeyPair(systemRandom);
  t.notSame(pair.seed, generateKeyPair(systemRandom).seed);
  t.same(value(parseSecretKey(`${formatSecretKey(pair.seed)}\n`)).publicKey, pair.signer.publicKey);
  t.same(value(parseRecoveryKey(formatRecoveryKey(pair.seed))).publicKey, pair.signer.publicKey);
  const jwk = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(pair.signer.publicKey).toString("base64url") }, format: "jwk" });
  t.ok(verify(null, Buffer.from("x"), jwk, pair.signer.sign(Buffer.from("x"))));
});

t.test("ids are of the shapes that base knows", async (t) => {
  t.ok(isKeyId(keyIdOf(keyPair("a").signer.publicKey)));
  t.ok(isMeshId(meshIdOf(keyPair("a").signer.publicKey)));
  t.not(keyId("a"), keyId("b"));
});

t.test("an access token is its key and its mesh", async (t) => {
  const token = { keyId: keyId("ann"), meshId: MESH };
  t.same(value(parseAccessToken(` ${formatAccessToken(token)}\n`)), token);
  for (const text of ["", "k", formatAccessToken(token).slice(1), `${formatAccessToken(token)}.x`, `${MESH}.${token.keyId}`])
    t.match(parseAccessToken(text), { ok: false, code: "BAD_USAGE" });
});

t.test("a refused secret is never repeated", async (t) => {
  const secret = formatSecretKey(keyPair("ann").seed);
  for (const text of [secret.slice(0, -1), `${secret}A`, secret.replace("ccs_", "ccr_"), secret.replace("ccs_", "")]) {
    const refused = parseSecretKey(text);
    t.match(refused, { ok: false, code: "BAD_USAGE" });
    t.notMatch(JSON.stringify(refused), secret.slice(8, 20));
  }
  t.match(parseSecretKey(formatRecoveryKey(keyPair("ann").seed)), { ok: false, message: /recovery key/ });
  t.match(parseRecoveryKey(secret), { ok: false, message: /ccr_/ });
});

t.test("fuzz: no text makes a parser throw", async () => {
  const texts = fc.oneof(
    fc.string(),
    fc.string().map((tail) => `ccs_${tail}`),
    fc.base64String().map((tail) => `ccr_${tail}`),
    fc.tuple(fc.string(), fc.string()).map(([a, b]) => `${a}.${b}`),
  );
  fc.assert(
    fc.property(texts, (text) => {
      for (const parse of [parseAccessToken, parseSecretKey, parseRecoveryKey]) {
        const result = parse(text);
        if (result.ok && text.length < 40) throw new Error(`taken: ${text}`);
      }
    }),
  );
});

t.test("the verifier", async (t) => {
  const { signer } = keyPair("ann");
  const verifier = createEd25519Verifier(2);
  const messages = ["1", "2", "3"].map((text) => Buffer.from(text));
  const signatures = messages.map((message) => signer.sign(message));
  t.test("finds the same again, also when its memory has turned over", async (t) => {
    for (let round = 0; round < 3; round += 1) {
      messages.forEach((message, at) => {
        t.ok(verifier.verify(signer.publicKey, message, signatures[at] ?? new Uint8Array()));
      });
    }
  });
  t.test("remembers nothing for another key, message or signature", async (t) => {
    const [signature = new Uint8Array()] = signatures;
    t.ok(verifier.verify(signer.publicKey, Buffer.from("1"), signature));
    t.notOk(verifier.verify(keyPair("bob").signer.publicKey, Buffer.from("1"), signature));
    t.notOk(verifier.verify(signer.publicKey, Buffer.from("2"), signature));
    t.notOk(verifier.verify(signer.publicKey, Buffer.from("1"), signatures[1] ?? new Uint8Array()));
  });
  t.test("says no to what has not its length, and to keys that are no points", async (t) => {
    t.notOk(verifier.verify(signer.publicKey.subarray(1), Buffer.from("1"), signatures[0] ?? new Uint8Array()));
    t.notOk(verifier.verify(signer.publicKey, Buffer.from("1"), new Uint8Array(63)));
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        (key, signature) => !verifier.verify(key, Buffer.from("1"), signature),
      ),
      { numRuns: 50 },
    );
  });
});
