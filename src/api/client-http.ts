import { CcError, type ErrorCode, isErrorCode } from "../base/index.ts";

/**
 * HTTP/1.1 by hand on one connection: a third of what node:http costs a short-lived process. Only what our own peers
 * send is understood: a length or chunks, no trailers worth keeping, no compression.
 */
const HEAD_BYTES_MAX = 64 * 1024;
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export type HttpResponse = {
  readonly status: number;
  /** Names in lower case; of a repeated one the last counts. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  /** False: the peer closes the connection after this response. */
  readonly keepAlive: boolean;
  /** What came after the response: after status 101 the first bytes of the new protocol. */
  readonly rest: Uint8Array;
};

export function encodeRequest(method: "GET" | "POST", path: string, headers: Readonly<Record<string, string>>, body?: Uint8Array): Uint8Array {
  let head = `${method} ${path} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries(headers)) {
    if (/[\r\n]/.test(name + value)) throw new CcError("INTERNAL", `a line break in the header ${name}`);
    head += `${name}: ${value}\r\n`;
  }
  if (body === undefined) return Buffer.from(`${head}\r\n`, "latin1");
  return Buffer.concat([Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`, "latin1"), body]);
}

const badAnswer = (what: string): CcError => new CcError("PEER_UNREACHABLE", `the endpoint does not answer as a peer does (${what}); check CC_ENDPOINT_URL`);

type Head = { status: number; headers: Map<string, string>; end: number };

function parseHead(text: string, end: number): Head {
  const lines = text.split("\r\n");
  const first = /^HTTP\/1\.[01] (\d{3})(?: .*)?$/.exec(lines[0] ?? "");
  if (first === null) throw badAnswer("its first line is not HTTP");
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(":");
    if (colon <= 0) throw badAnswer("a header without a name");
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(first[1]), headers, end };
}

/** Gives the chunked body and where it ends, or undefined while it is incomplete. */
function parseChunks(bytes: Buffer): { body: Uint8Array; end: number } | undefined {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) {
      if (bytes.length - at > 1024) throw badAnswer("a chunk without a size");
      return undefined;
    }
    const size = /^([0-9a-fA-F]{1,8})(?:;.*)?$/.exec(bytes.toString("latin1", at, lineEnd));
    if (size === null) throw badAnswer("a chunk without a size");
    const length = Number.parseInt(size[1] ?? "", 16);
    const start = lineEnd + 2;
    if (length === 0) {
      // Trailers, if any, end with an empty line.
      const trailers = bytes.indexOf("\r\n", start);
      if (trailers < 0) return undefined;
      if (trailers === start) return { body: Buffer.concat(parts), end: start + 2 };
      const end = bytes.indexOf("\r\n\r\n", start);
      return end < 0 ? undefined : { body: Buffer.concat(parts), end: end + 4 };
    }
    if (bytes.length < start + length + 2) return undefined;
    parts.push(bytes.subarray(start, start + length));
    at = start + length + 2;
  }
}

export type ResponseParser = {
  /** Gives the response once it is complete. Throws PEER_UNREACHABLE for what is not HTTP or too large. */
  push(chunk: Uint8Array): HttpResponse | undefined;
  /** The connection ended: a body without a length is complete by that, anything else is lost (undefined). */
  end(): HttpResponse | undefined;
};

export function createResponseParser(): ResponseParser {
  let chunks: Uint8Array[] = [];
  let size = 0;
  let head: Head | undefined;
  let needed = 0;

  const joined = (): Buffer => {
    const all = chunks.length === 1 && chunks[0] !== undefined ? Buffer.from(chunks[0].buffer, chunks[0].byteOffset, chunks[0].length) : Buffer.concat(chunks);
    chunks = [all];
    return all;
  };
  const finish = (found: Head, body: Uint8Array, rest: Uint8Array, keepAlive: boolean): HttpResponse => {
    const close = found.headers.get("connection")?.toLowerCase() === "close";
    return { status: found.status, headers: found.headers, body, rest, keepAlive: keepAlive && !close };
  };
  const readHead = (): Head | undefined => {
    for (;;) {
      const all = joined();
      const end = all.indexOf("\r\n\r\n");
      if (end > HEAD_BYTES_MAX || (end < 0 && size > HEAD_BYTES_MAX)) throw badAnswer("its headers are too long");
      if (end < 0) return undefined;
      const found = parseHead(all.toString("latin1", 0, end), end + 4);
      if (found.status >= 200 || found.status === 101) return found;
      // An interim response (100, 103): the real one follows.
      chunks = [all.subarray(end + 4)];
      size = all.length - end - 4;
    }
  };

  return {
    push(chunk) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > HEAD_BYTES_MAX + BODY_BYTES_MAX) throw badAnswer("its answer is larger than 64 MiB");
      head ??= readHead();
      if (head === undefined || size < needed) return undefined;
      const length = head.headers.get("content-length");
      if (head.status === 101 || head.status === 204 || head.status === 304) return finish(head, new Uint8Array(), joined().subarray(head.end), true);
      if (head.headers.get("transfer-encoding")?.toLowerCase() === "chunked") {
        const all = joined();
        // One response at a time, so the end of what is here is the end of the body: chunks are read once, not at every packet.
        if (all.subarray(-4).toString("latin1") !== "\r\n\r\n") return undefined;
        const parsed = parseChunks(all.subarray(head.end));
        return parsed === undefined ? undefined : finish(head, parsed.body, all.subarray(head.end + parsed.end), true);
      }
      if (length === undefined) return undefined;
      if (!/^\d{1,10}$/.test(length) || Number(length) > BODY_BYTES_MAX) throw badAnswer("its answer has an impossible length");
      needed = head.end + Number(length);
      if (size < needed) return undefined;
      const all = joined();
      return finish(head, all.subarray(head.end, needed), all.subarray(needed), true);
    },
    end() {
      if (head === undefined || head.headers.has("content-length")) return undefined;
      const all = joined();
      if (head.headers.has("transfer-encoding")) {
        const parsed = parseChunks(all.subarray(head.end));
        return parsed === undefined ? undefined : finish(head, parsed.body, new Uint8Array(), false);
      }
      return finish(head, all.subarray(head.end), new Uint8Array(), false);
    },
  };
}

function parseJson(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    // Not JSON: an intermediary's page, or no peer at all. The caller says so.
    return undefined;
  }
}

export function jsonBody(response: HttpResponse): Readonly<Record<string, unknown>> {
  const value = parseJson(Buffer.from(response.body).toString("utf8"));
  if (value === undefined) throw badAnswer(`status ${response.status} with a body that is not JSON`);
  return value;
}

/** Statuses of Connect for errors without a code of ours: what a library, not a handler, refused. */
const BY_STATUS_NAME: Readonly<Record<string, ErrorCode>> = {
  invalid_argument: "BAD_REQUEST",
  unauthenticated: "UNAUTHENTICATED",
  permission_denied: "FORBIDDEN",
  not_found: "NOT_FOUND",
  already_exists: "CONFLICT",
  resource_exhausted: "RATE_LIMITED",
  failed_precondition: "CONFLICT",
  aborted: "CONFLICT",
  unimplemented: "NOT_YET",
  unavailable: "PEER_UNREACHABLE",
  deadline_exceeded: "TIMEOUT",
  canceled: "CANCELLED",
  unknown: "OUTCOME_UNKNOWN",
};

export function stringDetails(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, typeof item === "string" ? item : JSON.stringify(item)]));
}

/** Details travel percent-encoded, because a header holds ASCII only. */
function decodeHeader(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not percent-encoded: taken as it is.
    return text;
  }
}

/** The error that a response other than 200 (or 101) stands for: code in `cc-error-code`, details in `cc-error-details`. */
export function errorOf(response: HttpResponse): CcError {
  const body = parseJson(Buffer.from(response.body).toString("utf8")) ?? {};
  const named = response.headers.get("cc-error-code") ?? "";
  const status = typeof body["code"] === "string" ? body["code"] : "";
  const code = isErrorCode(named)
    ? named
    : (BY_STATUS_NAME[status] ?? (response.status === 404 ? "NOT_YET" : response.status === 429 ? "RATE_LIMITED" : "INTERNAL"));
  const message = typeof body["message"] === "string" && body["message"] !== "" ? body["message"] : `the peer answered with status ${response.status}`;
  return new CcError(code, message, { details: stringDetails(parseJson(decodeHeader(response.headers.get("cc-error-details") ?? ""))) });
}
