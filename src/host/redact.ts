/** Names of fields whose values never reach a log. `env` holds users' secrets more often than not. */
const SECRET_NAME = /passw|passphrase|secret|credential|authorization|cookie|privatekey|recoverykey|invitekey|accesstoken|authfile|^env$/i;
const USER_INFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^/\s@"']+@/gi;
const DEPTH_MAX = 6;
const HIDDEN = "[hidden]";

/** A copy of `value` fit for a log: secret-looking fields hidden, user and password taken out of URLs, errors as code and message. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return value.replace(USER_INFO, `$1${HIDDEN}@`);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return "[deep]";
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (value instanceof Error) return redactError(value, depth);
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  const copy: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) {
    copy[name] = SECRET_NAME.test(name.replaceAll(/[-_]/g, "")) && item !== undefined && typeof item !== "boolean" ? HIDDEN : redact(item, depth + 1);
  }
  return copy;
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = { name: error.name, message: redact(error.message) };
  if ("code" in error) copy["code"] = error.code;
  if (error.cause !== undefined) copy["cause"] = redact(error.cause, depth + 1);
  // The stack is for whoever mends the fault; it stays on this host.
  if (error.stack !== undefined && error.name !== "CcError") copy["stack"] = redact(error.stack);
  return copy;
}
