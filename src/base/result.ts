import type { ErrorCode } from "./errors.ts";

/** An expected refusal. `message` says what happened and what to do, in one sentence fit for a user. */
export type Refusal = { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** What a decision gives: a value, or an expected refusal. Faults are thrown instead. */
export type Result<T> = { readonly ok: true; readonly value: T } | Refusal;

export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

export function refuse(code: ErrorCode, message: string): Refusal {
  return { ok: false, code, message };
}
