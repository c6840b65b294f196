import { asCcError, CcError, type ErrorCode, isErrorCode } from "../base/index.ts";

/** How a CcError crosses the wire between peers: code and details as metadata beside the gRPC status and message. */
export const ERROR_CODE_KEY = "cc-error-code";
export const ERROR_DETAILS_KEY = "cc-error-details";

const MESSAGE_CHARS_MAX = 2_000;
const DETAILS_CHARS_MAX = 4_000;

export type WireError = { readonly code: ErrorCode; readonly message: string; readonly metadata: Readonly<Record<string, string>> };

/** What a handler threw, as the caller may see it: never a stack, never longer than a header may be. */
export function toWire(thrown: unknown): WireError {
  const error = asCcError(thrown);
  // Header values are ASCII: details may hold anything.
  const details = encodeURIComponent(JSON.stringify(error.details));
  const metadata: Record<string, string> = { [ERROR_CODE_KEY]: error.code };
  if (Object.keys(error.details).length > 0 && details.length <= DETAILS_CHARS_MAX) metadata[ERROR_DETAILS_KEY] = details;
  return { code: error.code, message: error.message.slice(0, MESSAGE_CHARS_MAX), metadata };
}

/** The other side's CcError, or undefined where the metadata name none (the transport failed, or it is no peer of ours). */
export function fromWire(message: string, metadata: (key: string) => string | null): CcError | undefined {
  const code = metadata(ERROR_CODE_KEY);
  if (code === null) return undefined;
  // A newer peer's code that this version does not know is still a refusal with a sentence.
  if (!isErrorCode(code)) return new CcError("INTERNAL", message, { details: { code: code.slice(0, 64) } });
  return new CcError(code, message, { details: parseDetails(metadata(ERROR_DETAILS_KEY)) });
}

function parseDetails(text: string | null): Record<string, string> {
  const details: Record<string, string> = {};
  if (text === null || text.length > DETAILS_CHARS_MAX) return details;
  try {
    const value: unknown = JSON.parse(decodeURIComponent(text));
    if (typeof value !== "object" || value === null) return details;
    for (const [key, entry] of Object.entries(value)) if (typeof entry === "string" && key !== "__proto__") details[key] = entry;
  } catch {
    // Details are an extra: a peer that garbles them still refused with its code.
  }
  return details;
}

/** The same, as the bytes of one JSON object. */
export function wireErrorBytes(error: WireError): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ message: error.message, metadata: error.metadata }));
}

/** Any bytes give an error: what is no wire error of ours is an INTERNAL one. */
export function wireErrorFrom(bytes: Uint8Array): CcError {
  const garbled = new CcError("INTERNAL", "the peer failed without saying how");
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value !== "object" || value === null || !("message" in value) || typeof value.message !== "string") return garbled;
    const metadata =
      "metadata" in value && typeof value.metadata === "object" && value.metadata !== null
        ? new Map<string, unknown>(Object.entries(value.metadata))
        : new Map<string, unknown>();
    const text = (key: string): string | null => {
      const entry = metadata.get(key);
      return typeof entry === "string" ? entry : null;
    };
    return fromWire(value.message, text) ?? garbled;
  } catch {
    return garbled; // it failed either way
  }
}
