import { ok, type Result, refuse } from "./result.ts";

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds from `10s`, `5m`, `24h`, `7d`, `250ms`; a bare number is seconds. */
export function parseDuration(text: string): Result<number> {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text.trim());
  const unit = UNIT_MS[match?.[2] ?? "s"];
  if (match === null || unit === undefined) return refuse("BAD_REQUEST", `"${text}" is not a duration; give for example 10s, 5m, 24h or 7d`);
  const ms = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(ms) ? ok(ms) : refuse("BAD_REQUEST", `"${text}" is too long a time`);
}

/** `3s`, `2m`, `5h`, `4d`: for people, the largest whole unit. */
export function formatDuration(ms: number): string {
  const positive = Math.max(0, ms);
  if (positive < 60_000) return `${Math.floor(positive / 1_000)}s`;
  if (positive < 3_600_000) return `${Math.floor(positive / 60_000)}m`;
  if (positive < 86_400_000) return `${Math.floor(positive / 3_600_000)}h`;
  return `${Math.floor(positive / 86_400_000)}d`;
}
