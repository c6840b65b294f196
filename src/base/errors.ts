/**
 * Every error that a user or another peer may see carries one of these codes. Codes are stable across versions,
 * their texts are not. `status` is the Connect (gRPC) status name that the API answers with.
 */
const TABLE = {
  BAD_REQUEST: "invalid_argument",
  BAD_SIZE: "invalid_argument",
  BAD_IMAGE_REFERENCE: "invalid_argument",
  BAD_USAGE: "invalid_argument",
  UNAUTHENTICATED: "unauthenticated",
  CLOCK_SKEW: "unauthenticated",
  REPLAYED: "unauthenticated",
  KEY_REVOKED: "unauthenticated",
  WRONG_MESH: "unauthenticated",
  WRONG_PEER: "unauthenticated",
  FORBIDDEN: "permission_denied",
  NOT_A_MEMBER: "permission_denied",
  INVITE_INVALID: "permission_denied",
  INVITE_EXPIRED: "permission_denied",
  INVITE_USED_UP: "permission_denied",
  NOT_FOUND: "not_found",
  NAME_TAKEN: "already_exists",
  NAME_HELD: "aborted",
  NAME_AMBIGUOUS: "failed_precondition",
  TOKEN_REUSED: "already_exists",
  NO_ROOM: "resource_exhausted",
  RATE_LIMITED: "resource_exhausted",
  TOO_LARGE: "resource_exhausted",
  LIMIT: "resource_exhausted",
  IMAGE_NOT_FOUND: "not_found",
  IMAGE_DENIED: "permission_denied",
  IMAGE_PULL_FAILED: "unavailable",
  REGISTRY_UNREACHABLE: "unavailable",
  HOST_UNREACHABLE: "unavailable",
  PEER_UNREACHABLE: "unavailable",
  OUTCOME_UNKNOWN: "unknown",
  MAJORITY_NEEDED: "failed_precondition",
  CONFLICT: "failed_precondition",
  NOT_RUNNING: "failed_precondition",
  CONNECTION_REFUSED: "unavailable",
  IN_USE: "failed_precondition",
  STARTING: "unavailable",
  STORE_LOST: "unavailable",
  VOLUME_DAMAGED: "data_loss",
  CONTAINER_FAILED: "internal",
  COMMAND_NOT_FOUND: "failed_precondition",
  COMMAND_NOT_EXECUTABLE: "failed_precondition",
  NOT_YET: "unimplemented",
  TIMEOUT: "deadline_exceeded",
  CANCELLED: "canceled",
  INTERNAL: "internal",
} as const;

export type ErrorCode = keyof typeof TABLE;
/** Names of Connect statuses, as they stand in the JSON form of an error. */
export type StatusName = (typeof TABLE)[ErrorCode];

export function statusOf(code: ErrorCode): StatusName {
  return TABLE[code];
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(TABLE, text);
}

/** The one error class: what crosses the wire is its code, message and details, never its stack. */
export class CcError extends Error {
  readonly code: ErrorCode;
  /** Facts for programs; never secrets. */
  readonly details: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, message: string, options: { details?: Record<string, string>; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CcError";
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** What any thrown value means to somebody else. Unknown faults become INTERNAL without their text leaking a stack. */
export function asCcError(thrown: unknown): CcError {
  if (thrown instanceof CcError) return thrown;
  if (thrown instanceof Error && thrown.name === "AbortError") return new CcError("CANCELLED", "the request was cancelled", { cause: thrown });
  if (thrown instanceof Error && thrown.name === "TimeoutError") return new CcError("TIMEOUT", "the request took too long", { cause: thrown });
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new CcError("INTERNAL", text, { cause: thrown });
}
