import { ok, type Result, refuse } from "./result.ts";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1024,
  kb: 1024,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1024 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1024 ** 4,
  tib: 1024 ** 4,
};

/** Bytes from `1073741824`, `512m`, `2GiB`, `1.5g`. Units are powers of 1024. Refused: signs, nothing, above 2^53. */
export function parseSize(text: string): Result<number> {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]{0,3})$/.exec(text.trim());
  const unit = match === null ? undefined : UNITS[(match[2] ?? "").toLowerCase()];
  if (match === null || unit === undefined)
    return refuse("BAD_SIZE", `"${text}" is not a size; give bytes (1073741824) or a number with k, m, g or t (512m, 2GiB)`);
  const bytes = Math.round(Number(match[1]) * unit);
  if (!Number.isSafeInteger(bytes)) return refuse("BAD_SIZE", `"${text}" is larger than anything can be; give at most 8192t`);
  return ok(bytes);
}

/** `1.5 GiB`, `512 MiB`, `17 B`: for people, at most one decimal. */
export function formatSize(bytes: number): string {
  const names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let step = 0;
  while (value >= 1024 && step < names.length - 1) {
    value /= 1024;
    step += 1;
  }
  const rounded = Math.round(value * 10) / 10;
  return `${Number.isInteger(rounded) ? rounded.toFixed(0) : rounded.toFixed(1)} ${names[step]}`;
}
