import { ok, type Result, refuse } from "../src/base/index.ts";

/** Where a file lies in an archive, or which other one it is. */
export type TarFile = { readonly at: number; readonly size: number } | { readonly link: string };
export type TarIndex = ReadonlyMap<string, TarFile>;

const TAR_BLOCK = 512;
const ENTRIES_MAX = 100_000;
const EXTENSION_BYTES_MAX = 1024 * 1024;

/** Reads `size` bytes at a place of the archive; fewer at its end. */
export type ReadAt = (at: number, size: number) => Buffer;

const textOf = (block: Buffer, from: number, length: number): string => {
  const field = block.subarray(from, from + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
};

/** Octal digits, or, for what is larger, base 256 with the first bit set. */
function sizeOf(block: Buffer): number {
  if (((block[124] ?? 0) & 0x80) !== 0) return Number(block.readBigUInt64BE(128));
  return Number.parseInt(textOf(block, 124, 12).trim() || "0", 8);
}

/** `path/to/../x` as `path/x`; undefined when it leads out. */
export function plainPath(path: string): string | undefined {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return undefined;
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** The files of an uncompressed tar archive, without their bytes. */
export function indexTar(readAt: ReadAt, where: string): Result<TarIndex> {
  const files = new Map<string, TarFile>();
  const broken = refuse("BAD_REQUEST", `${where} is not a tar archive, or a damaged one; save the image again`);
  let next: { path?: string; link?: string; size?: number } = {};
  for (let at = 0, entries = 0; ; entries += 1) {
    const block = readAt(at, TAR_BLOCK);
    if (block.length === 0 || (block.length === TAR_BLOCK && block.every((byte) => byte === 0))) return entries === 0 ? broken : ok(files);
    if (block.length < TAR_BLOCK || entries > ENTRIES_MAX || !checksumHolds(block)) return broken;
    const type = String.fromCharCode(block[156] ?? 0);
    const size = next.size ?? sizeOf(block);
    if (!Number.isSafeInteger(size) || size < 0) return broken;
    const body = at + TAR_BLOCK;
    at = body + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
    if ("xLKg".includes(type)) {
      if (size > EXTENSION_BYTES_MAX) return broken;
      if (type !== "g") next = { ...next, ...extension(type, readAt(body, size)) };
      continue;
    }
    const prefix = textOf(block, 345, 155);
    const own = textOf(block, 0, 100);
    const path = plainPath(next.path ?? (prefix !== "" && textOf(block, 257, 5) === "ustar" ? `${prefix}/${own}` : own));
    const link = next.link ?? textOf(block, 157, 100);
    next = {};
    if (path === undefined || path === "") continue;
    if (type === "0" || type === "\0" || type === "7") files.set(path, { at: body, size });
    else if (type === "1") files.set(path, { link: plainPath(link) ?? "" });
    else if (type === "2") files.set(path, { link: plainPath(`${path}/../${link}`) ?? "" });
  }
}

function extension(type: string, body: Buffer): { path?: string; link?: string; size?: number } {
  if (type !== "x") return { [type === "L" ? "path" : "link"]: textOf(body, 0, body.length) };
  const found: { path?: string; link?: string; size?: number } = {};
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const length = Number(body.toString("latin1", at, space));
    if (space < 0 || !Number.isInteger(length) || length <= space - at || at + length > body.length) return found;
    const [key = "", ...value] = body.toString("utf8", space + 1, at + length - 1).split("=");
    if (key === "path") found.path = value.join("=");
    if (key === "linkpath") found.link = value.join("=");
    if (key === "size") found.size = Number(value.join("="));
    at += length;
  }
  return found;
}

function checksumHolds(block: Buffer): boolean {
  let sum = 8 * 0x20;
  for (const [at, byte] of block.entries()) if (at < 148 || at >= 156) sum += byte;
  return sum === Number.parseInt(textOf(block, 148, 8).trim(), 8);
}
