import { isKeyId, type KeyId, ok, type Result, refuse } from "../base/index.ts";
import { SIGNATURE_BYTES, type Signer, sha256, type Verifier } from "./crypto.ts";
import { base64, fromBase64 } from "./encodings.ts";

/**
 * A request as its user signed it (cc.v1.SignedRequest): HTTP Message Signatures (RFC 9421) that cover Content-Digest
 * (RFC 9530) alone. Method and path are not covered: the body names the call, so that the three fields here are enough to
 * check it years later, on a host that never saw the HTTP request.
 */
export type SignedRequest = {
  readonly body: Uint8Array;
  /** The inner list with its parameters: what stands after `cc=` in Signature-Input. */
  readonly signatureInput: string;
  /** base64, without the colons that surround it in the header. */
  readonly signature: string;
};

export type RequestParameters = { readonly keyId: KeyId; readonly createdS: number; readonly nonce: string };

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** RFC 9421's "ed25519", one covered component, each parameter once and in the canonical spelling of RFC 8941. */
const COVERED = '("content-digest")';
const SIGNATURE_INPUT_CHARACTERS_MAX = 256;
const NONCE = /^[A-Za-z0-9_-]{16,64}$/;
const LABEL = "cc";
const PARAMETER = /;([a-z]+)=(?:"([A-Za-z0-9_-]{1,64})"|([1-9][0-9]{0,11}))/gy;

/** Content-Digest of RFC 9530, SHA-256. */
export function contentDigest(body: Uint8Array): string {
  return `sha-256=:${base64(sha256(body))}:`;
}

/** Signs a body. `nonce`: 16 to 64 letters of base64url, never used twice. */
export function signRequest(request: {
  readonly body: Uint8Array;
  readonly keyId: KeyId;
  readonly signer: Pick<Signer, "sign">;
  readonly createdS: number;
  readonly nonce: string;
}): SignedRequest & { readonly contentDigest: string } {
  const { body, keyId, createdS, nonce } = request;
  if (!NONCE.test(nonce) || !Number.isSafeInteger(createdS) || createdS < 1)
    throw new RangeError("a signature needs a nonce of 16 to 64 base64url letters and a time in whole seconds");
  const signatureInput = `${COVERED};created=${createdS};nonce="${nonce}";keyid="${keyId}";alg="ed25519"`;
  const digest = contentDigest(body);
  const signature = base64(request.signer.sign(signatureBase(digest, signatureInput)));
  return { body, signatureInput, signature, contentDigest: digest };
}

/** The three headers that carry a signed request beside its body. */
export function requestHeaders(request: SignedRequest): { "content-digest": string; "signature-input": string; signature: string } {
  return {
    "content-digest": contentDigest(request.body),
    "signature-input": `${LABEL}=${request.signatureInput}`,
    signature: `${LABEL}=:${request.signature}:`,
  };
}

/** Reads the three headers (names in lower case, as node:http gives them). Exactly one signature, labelled `cc`. */
export function parseRequestHeaders(headers: Headers): Result<{ contentDigest: string; signatureInput: string; signature: string }> {
  const digest = headers["content-digest"];
  const input = headers["signature-input"];
  const signature = headers["signature"];
  if (typeof digest !== "string" || typeof input !== "string" || typeof signature !== "string") {
    return refuse("UNAUTHENTICATED", "the request is not signed: it needs the headers Content-Digest, Signature-Input and Signature, each once (RFC 9421)");
  }
  if (!input.startsWith(`${LABEL}=`) || !signature.startsWith(`${LABEL}=:`) || !signature.endsWith(":")) {
    return refuse("UNAUTHENTICATED", 'the signature has to be labelled "cc": Signature-Input: cc=("content-digest");..., Signature: cc=:...:');
  }
  const signatureInput = input.slice(LABEL.length + 1);
  const parameters = requestParameters(signatureInput);
  if (!parameters.ok) return parameters;
  const text = signature.slice(LABEL.length + 2, -1);
  if (fromBase64(text)?.length !== SIGNATURE_BYTES) return refuse("UNAUTHENTICATED", "the Signature header does not hold the base64 of 64 bytes");
  return ok({ contentDigest: digest, signatureInput, signature: text });
}

/** The signed request that headers and body make, its digest compared. The signature itself is not checked yet. */
export function signedRequestOf(headers: Headers, body: Uint8Array): Result<SignedRequest> {
  const parsed = parseRequestHeaders(headers);
  if (!parsed.ok) return parsed;
  if (parsed.value.contentDigest !== contentDigest(body))
    return refuse(
      "UNAUTHENTICATED",
      "the body is not the one that Content-Digest names (sha-256 alone): it was changed on the way, or hashed before it was encoded",
    );
  return ok({ body, signatureInput: parsed.value.signatureInput, signature: parsed.value.signature });
}

/** Who signed, when and with which nonce, as the signature input claims it. */
export function requestParameters(signatureInput: string): Result<RequestParameters> {
  const malformed = refuse("UNAUTHENTICATED", 'the signature input is not ("content-digest") with created, nonce, keyid and alg="ed25519", each once');
  if (signatureInput.length > SIGNATURE_INPUT_CHARACTERS_MAX || !signatureInput.startsWith(COVERED)) return malformed;
  const seen = new Map<string, string>();
  PARAMETER.lastIndex = COVERED.length;
  while (PARAMETER.lastIndex < signatureInput.length) {
    const match = PARAMETER.exec(signatureInput);
    const name = match?.[1];
    if (match === null || name === undefined || seen.has(name)) return malformed;
    // Only `created` is a number; a quoted number or a bare word in another's place is not the same signature input.
    const value = name === "created" ? match[3] : match[2];
    if (value === undefined) return malformed;
    seen.set(name, value);
  }
  const keyId = seen.get("keyid") ?? "";
  const nonce = seen.get("nonce") ?? "";
  const createdS = Number(seen.get("created") ?? "0");
  if (seen.size !== 4 || seen.get("alg") !== "ed25519" || !isKeyId(keyId) || !NONCE.test(nonce) || createdS < 1) return malformed;
  return ok({ keyId, createdS, nonce });
}

/** With which key, and by which verifier, a request was last found signed: a request object never changes. */
const signedBy = new WeakMap<SignedRequest, { readonly publicKey: Uint8Array; readonly verifier: Verifier }>();

/** Whether the holder of `publicKey` signed this body with this input. What the body says is not looked at. */
export function verifyRequest(request: SignedRequest, publicKey: Uint8Array, verifier: Verifier): boolean {
  const known = signedBy.get(request);
  if (known?.verifier === verifier && Buffer.compare(known.publicKey, publicKey) === 0) return true;
  if (!requestParameters(request.signatureInput).ok) return false;
  const signature = fromBase64(request.signature);
  if (signature === undefined || !verifier.verify(publicKey, signatureBase(contentDigest(request.body), request.signatureInput), signature)) return false;
  signedBy.set(request, { publicKey, verifier });
  return true;
}

/** RFC 9421, section 2.5. */
function signatureBase(digest: string, signatureInput: string): Uint8Array {
  return Buffer.from(`"content-digest": ${digest}\n"@signature-params": ${signatureInput}`);
}
