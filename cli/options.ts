import { constants } from "node:os";
import { isName, isVolumeId, ok, parseDuration, parseSize, type Result, refuse } from "../src/base/index.ts";
import { isLocalImage, parseImageSource } from "./image-source.ts";

/** Values of options: what people type becomes what the contract says, or a refusal that says how it is written. */

const ENV_NAME_BYTES_MAX = 256;
const ENV_FILE_BYTES_MAX = 1024 * 1024;

export type Environment = { readonly [name: string]: string | undefined };
type Pair = readonly [name: string, value: string];

/** `NAME=value`, or `NAME` for its value in `environment`; undefined where that has none (as Docker does). */
export function parseEnv(text: string, environment: Environment): Result<Pair | undefined> {
  const equals = text.indexOf("=");
  const name = equals < 0 ? text : text.slice(0, equals);
  if (name === "" || /[\s\0]/.test(name) || name.length > ENV_NAME_BYTES_MAX)
    return refuse("BAD_USAGE", `"${text.slice(0, 40)}" is not an environment variable; write NAME=value, or NAME to pass on its value here`);
  const value = equals >= 0 ? text.slice(equals + 1) : Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (value === undefined) return ok(undefined);
  if (value.includes("\0")) return refuse("BAD_USAGE", `the value of ${name} has a NUL in it, which no environment can hold`);
  return ok([name, value]);
}

/** A file of `NAME=value` lines; `#` begins a comment line, quotes are kept as they are (Docker's format). */
export function parseEnvFile(text: string, environment: Environment, file: string): Result<readonly Pair[]> {
  if (text.length > ENV_FILE_BYTES_MAX) return refuse("BAD_USAGE", `${file} is larger than the ${ENV_FILE_BYTES_MAX} bytes that an environment file may have`);
  const pairs: Pair[] = [];
  for (const [index, raw] of text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .entries()) {
    const line = raw.trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const pair = parseEnv(line, environment);
    if (!pair.ok) return refuse("BAD_USAGE", `${file} line ${index + 1}: ${pair.message}`);
    if (pair.value !== undefined) pairs.push(pair.value);
  }
  return ok(pairs);
}

/** `name=value`; `name` alone is a label without a value. */
export function parseLabel(text: string): Result<Pair> {
  const equals = text.indexOf("=");
  const name = equals < 0 ? text : text.slice(0, equals);
  if (!/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$/.test(name))
    return refuse("BAD_USAGE", `"${text.slice(0, 40)}" is not a label; write name=value, the name of letters, digits, dots, dashes and slashes`);
  return ok([name, equals < 0 ? "" : text.slice(equals + 1)]);
}

export type VolumeOption = { readonly volume: string; readonly path: string; readonly readOnly: boolean };

/** `VOLUME:PATH[:ro]`; the volume by id or name. What a path may be the peer says. */
export function parseVolume(text: string): Result<VolumeOption> {
  const [volume = "", path = "", mode, ...rest] = text.split(":");
  if (rest.length > 0 || volume === "" || !path.startsWith("/") || (mode !== undefined && mode !== "ro" && mode !== "rw"))
    return refuse("BAD_USAGE", `"${text.slice(0, 80)}" is not a volume; write VOLUME:/absolute/path, with :ro behind it to only read`);
  if (!isVolumeId(volume) && !isName(volume))
    return refuse(
      "BAD_USAGE",
      `"${volume.slice(0, 80)}" is not a volume's id or name; make one with cc volume create and name it (folders of a host cannot be mounted)`,
    );
  return ok({ volume, path, readOnly: mode === "ro" });
}

/** Each name once, the last one counts. */
export function collectPairs(texts: readonly string[], parse: (text: string) => Result<Pair | undefined>): Result<Record<string, string>> {
  const pairs: Pair[] = [];
  for (const text of texts) {
    const pair = parse(text);
    if (!pair.ok) return pair;
    if (pair.value !== undefined) pairs.push(pair.value);
  }
  return ok(Object.fromEntries(pairs));
}

/** Bytes above zero. */
export function parseByteSize(text: string, smallest = 1): Result<number> {
  const size = parseSize(text);
  if (!size.ok || size.value >= smallest) return size;
  return refuse("BAD_SIZE", `"${text}" is too small; give at least ${smallest} bytes`);
}

/** CPU shares: 1024 is one core's weight. */
export function parseShares(text: string): Result<number> {
  const shares = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  return shares >= 2 && shares <= 262_144
    ? ok(shares)
    : refuse("BAD_USAGE", `"${text}" is not a number of CPU shares; give 2 to 262144, 1024 being one core's weight`);
}

/** `SIGTERM`, `term` or `15` as `SIGTERM`. */
export function parseSignal(text: string): Result<string> {
  const wanted = text.toUpperCase();
  for (const [name, number] of Object.entries(constants.signals)) {
    if (name === wanted || name === `SIG${wanted}` || String(number) === text) return ok(name);
  }
  return refuse("BAD_USAGE", `"${text}" is not a signal; give a name or a number, for example SIGTERM`);
}

/** Milliseconds since the epoch, from a time (2026-01-31T12:00:00Z) or from how long ago it was (10m). */
export function parseSince(text: string, nowMs: number): Result<number> {
  const ago = parseDuration(text);
  if (ago.ok) return ok(Math.max(1, nowMs - ago.value));
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isFinite(time) ? ok(Math.max(1, time)) : refuse("BAD_USAGE", `"${text}" is neither a time (2026-01-31T12:00:00Z) nor how long ago (10m, 2h)`);
}

/** Lines from the end; `all` is -1. */
export function parseTail(text: string): Result<number> {
  if (text === "all") return ok(-1);
  return /^\d{1,9}$/.test(text) ? ok(Number(text)) : refuse("BAD_USAGE", `"${text}" is not a number of lines; give a number or all`);
}

/** An image of a registry or of the mesh, or one of this machine, which is brought before it runs. */
export function checkImage(image: string): Result<string> {
  if (isLocalImage(image)) {
    const source = parseImageSource(image);
    return source.ok ? ok(image) : source;
  }
  if (image === "" || /[\s\0-\x1f]/.test(image))
    return refuse("BAD_IMAGE_REFERENCE", `"${image}" is not an image; give for example alpine, ghcr.io/x/y:tag or name@sha256:...`);
  return ok(image);
}
