import { createPrivateKey, createPublicKey } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import {
  contentDigest,
  ed25519Verifier,
  parseRequestHeaders,
  requestHeaders,
  requestParameters,
  signedRequestOf,
  signerFromSeed,
  signRequest,
  verifyRequest,
} from "../../../src/identity/index.ts";
import { CREATED_S, keyId, keyPair, value } from "./fixtures.ts";

const body = Buffer.from('{"to":{"call":"Run"}}');
const { signer } = keyPair("ann");
const signed = signRequest({ body, keyId: keyId("ann"), signer, createdS: CREATED_S, nonce: "abcdefghijklmnop" });
const headers = requestHeaders(signed);

t.test("RFC 9421, B.2.6: the test key's signature holds under our verifier, and our signer makes it", async (t) => {
  const key = createPrivateKey("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n");
  const base = [
    '"date": Tue, 20 Apr 2021 02:07:55 GMT',
    '"@method": POST',
    '"@path": /foo',
    '"@authority": example.com',
    '"content-type": application/json',
    '"content-length": 18',
    '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"',
  ].join("\n");
  const expected = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
  const seed = key.export({ format: "der", type: "pkcs8" }).subarray(-32);
  const publicKey = new Uint8Array(createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32));
  t.equal(Buffer.from(signerFromSeed(seed).sign(Buffer.from(base))).toString("base64"), expected);
  t.ok(ed25519Verifier.verify(publicKey, Buffer.from(base), Buffer.from(expected, "base64")));
});

t.test("RFC 9530, appendix: the digest of its example", async (t) => {
  t.equal(contentDigest(Buffer.from('{"hello": "world"}')), "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
});

t.test("the signature base is RFC 9421's, line for line", async (t) => {
  const base = `"content-digest": ${contentDigest(body)}\n"@signature-params": ("content-digest");created=${CREATED_S};nonce="abcdefghijklmnop";keyid="${keyId("ann")}";alg="ed25519"`;
  t.equal(signed.signature, Buffer.from(signer.sign(Buffer.from(base))).toString("base64"));
});

t.test("headers there and back", async (t) => {
  t.same(value(parseRequestHeaders(headers)), { contentDigest: signed.contentDigest, signatureInput: signed.signatureInput, signature: signed.signature });
  const request = value(signedRequestOf(headers, body));
  t.ok(verifyRequest(request, signer.publicKey, ed25519Verifier));
  t.same(value(requestParameters(request.signatureInput)), { keyId: keyId("ann"), createdS: CREATED_S, nonce: "abcdefghijklmnop" });
});

t.test("another body, key, time or nonce does not verify", async (t) => {
  t.notOk(verifyRequest(signed, keyPair("bob").signer.publicKey, ed25519Verifier));
  t.notOk(verifyRequest({ ...signed, body: Buffer.from('{"to":{"call":"Stop"}}') }, signer.publicKey, ed25519Verifier));
  for (const [from, to] of [
    [String(CREATED_S), String(CREATED_S + 1)],
    ["abcdefghijklmnop", "abcdefghijklmnoq"],
    [keyId("ann"), keyId("bob")],
  ] as const) {
    t.notOk(verifyRequest({ ...signed, signatureInput: signed.signatureInput.replace(from, to) }, signer.publicKey, ed25519Verifier));
  }
  t.match(signedRequestOf(headers, Buffer.from("{}")), { ok: false, code: "UNAUTHENTICATED", message: /changed on the way/ });
});

t.test("other spellings of a signature input are refused, so that one request has one form", async (t) => {
  const input = signed.signatureInput;
  const others = [
    input.replace(";created", "; created"),
    input.replace('("content-digest")', '( "content-digest")'),
    input.replace('("content-digest")', '("content-digest" "@method")'),
    input.replace('("content-digest")', "()"),
    `${input};alg="ed25519"`,
    `${input};expires=1900000000`,
    `${input};tag="x"`,
    `${input} `,
    `${input}, sig2=()`,
    input.replace('alg="ed25519"', 'alg="hmac-sha256"'),
    input.replace(`created=${CREATED_S}`, `created="${CREATED_S}"`),
    input.replace(`created=${CREATED_S}`, "created=-1"),
    input.replace(`created=${CREATED_S}`, `created=0${CREATED_S}`),
    input.replace(`created=${CREATED_S}`, "created=99999999999999999999"),
    input.replace("abcdefghijklmnop", "short"),
    input.replace(keyId("ann"), "k1"),
    input.replace(';nonce="abcdefghijklmnop"', ""),
    "",
    "x".repeat(1_000_000),
  ];
  for (const other of others) t.match(requestParameters(other), { ok: false, code: "UNAUTHENTICATED" }, other.slice(0, 80));
  t.ok(requestParameters(`("content-digest");alg="ed25519";keyid="${keyId("ann")}";nonce="abcdefghijklmnop";created=5`).ok, "the order is the signer's");
});

t.test("headers that are missing, twice or labelled otherwise are refused", async (t) => {
  const without = (name: string) => Object.fromEntries(Object.entries(headers).filter(([key]) => key !== name));
  for (const name of Object.keys(headers)) {
    t.match(parseRequestHeaders(without(name)), { ok: false, code: "UNAUTHENTICATED" });
    t.match(parseRequestHeaders({ ...headers, [name]: ["a", "b"] }), { ok: false, code: "UNAUTHENTICATED" });
  }
  t.match(parseRequestHeaders({ ...headers, signature: headers.signature.replace("cc=", "sig1=") }), { ok: false, message: /labelled/ });
  t.match(parseRequestHeaders({ ...headers, signature: "cc=:AAAA:" }), { ok: false, message: /64 bytes/ });
  t.match(parseRequestHeaders({ ...headers, signature: `${headers.signature.slice(0, -3)}=:` }), { ok: false });
  t.match(signedRequestOf({ ...headers, "content-digest": `${headers["content-digest"]}, sha-512=:AA==:` }, body), { ok: false });
});

t.test("fuzz: no header makes a parser throw, and no change of a letter verifies", async () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.string(),
      fc.string(),
      (digest, input, signature) => !parseRequestHeaders({ "content-digest": digest, "signature-input": `cc=${input}`, signature: `cc=:${signature}:` }).ok,
    ),
  );
  fc.assert(
    fc.property(fc.nat(signed.signatureInput.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, letter) => {
      const signatureInput = signed.signatureInput.slice(0, at) + letter + signed.signatureInput.slice(at + 1);
      return signatureInput === signed.signatureInput || !verifyRequest({ ...signed, signatureInput }, signer.publicKey, ed25519Verifier);
    }),
  );
  fc.assert(
    fc.property(fc.nat(signed.signature.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, letter) => {
      const signature = signed.signature.slice(0, at) + letter + signed.signature.slice(at + 1);
      return signature === signed.signature || !verifyRequest({ ...signed, signature }, signer.publicKey, ed25519Verifier);
    }),
  );
});

t.test("a signer that would make what nobody takes is stopped", async (t) => {
  t.throws(() => signRequest({ body, keyId: keyId("ann"), signer, createdS: 1.5, nonce: "abcdefghijklmnop" }), RangeError);
  t.throws(() => signRequest({ body, keyId: keyId("ann"), signer, createdS: 1, nonce: 'quote"quote"quote' }), RangeError);
});
