import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { CcError, type Logger, statusOf } from "../../base/index.ts";
import type { Caller, OpenHandlers, SignedHandlers, StreamCall } from "../calls.ts";
import type { RateLimiter } from "../rate-limit.ts";
import type { FrameChannel } from "../streams.ts";
import { errorHeaders, httpStatusOf } from "./connect-router.ts";

/** A signed request at most: a container's spec is at most 64 KiB, a list of ids less. */
export const REQUEST_BYTES_MAX = 256 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;
export const SERVICE_PATH = "/cc.v1.Cloud/";

export type RequestHeaders = { readonly contentDigest: string; readonly signatureInput: string; readonly signature: string };

/** What the server needs from whoever composes it. */
export type ApiServerParts = {
  readonly signed: SignedHandlers;
  readonly open: OpenHandlers;
  readonly stream: (call: StreamCall, caller: Caller, channel: FrameChannel, signal: AbortSignal) => Promise<void>;
  /** Checks digest, signature, key, role, addressing, time and nonce; `call` as in the body: `Run`. Throws CcError. */
  readonly authenticate: (call: string, headers: RequestHeaders, body: Uint8Array) => Promise<Caller>;
  /** For calls without a signature, by remote address. */
  readonly openCalls: RateLimiter;
  readonly log: Logger;
};

export type AnyRequest = IncomingMessage | Http2ServerRequest;
export type AnyResponse = ServerResponse | Http2ServerResponse;

export function signatureHeaders(request: AnyRequest): RequestHeaders {
  const one = (name: string): string => {
    const value = request.headers[name];
    return typeof value === "string" ? value : "";
  };
  return { contentDigest: one("content-digest"), signatureInput: one("signature-input"), signature: one("signature") };
}

/** The whole body. Throws TOO_LARGE. */
export async function readBody(request: AnyRequest): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  request.setTimeout(REQUEST_TIMEOUT_MS);
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > REQUEST_BYTES_MAX) throw new CcError("TOO_LARGE", `a request is at most ${REQUEST_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Connect's JSON form of an error, for where Connect itself never saw the request. */
export function errorBody(error: CcError): { status: number; headers: Record<string, string>; body: string } {
  const body = JSON.stringify({ code: statusOf(error.code), message: error.message });
  return {
    status: httpStatusOf(error.code),
    headers: { "content-type": "application/json", "content-length": `${Buffer.byteLength(body)}`, ...errorHeaders(error) },
    body,
  };
}
