import { CcError } from "../base/index.ts";
import { printable } from "./printable.ts";

export const BLOCK_BYTES = 512;

export type TarKind = "file" | "hardlink" | "symlink" | "dir" | "fifo" | "char" | "block";

/** One member of an archive. Names and values are bytes, kept as latin1 text: a character is a byte. */
export type TarMember = {
  readonly kind: TarKind;
  readonly path: string;
  /** Target of a symbolic or hard link; else empty. */
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, as a decimal number of any length. */
  readonly mtime: string;
  /** Bytes of content that follow in the archive; of a sparse file less than its size. */
  readonly storedBytes: number;
  readonly xattrs: ReadonlyMap<string, string>;
  /** Records of GNU's sparse formats 0.0, 0.1 and 1.0, in their order, without the name. */
  readonly sparse: readonly (readonly [string, string])[];
};

/** What extended headers say about the member that follows them. */
export type Extension = {
  path: string | undefined;
  link: string | undefined;
  readonly records: Map<string, string>;
  readonly xattrs: Map<string, string>;
  readonly sparse: [string, string][];
};

/** Shared, since an archive has many members and most have none. */
export const NO_XATTRS: ReadonlyMap<string, string> = new Map();
export const NO_PIECES: TarMember["sparse"] = [];

export const noExtension = (): Extension => ({ path: undefined, link: undefined, records: new Map(), xattrs: new Map(), sparse: [] });

export function badLayer(why: string): CcError {
  return new CcError("IMAGE_PULL_FAILED", `a layer of the image cannot be unpacked: ${printable(why)}`);
}

const XATTR = "SCHILY.xattr.";
const SPARSE = "GNU.sparse.";

/** Adds the records of a pax extended header: `LENGTH KEY=VALUE\n`, the length counting itself. */
export function readPax(body: Buffer, into: Extension): void {
  for (let at = 0; at < body.length; ) {
    const space = body.indexOf(0x20, at);
    const digits = space < 0 ? "" : body.toString("latin1", at, space);
    const length = /^\d{1,9}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = body.indexOf(0x3d, space);
    if (length <= digits.length + 2 || end > body.length || body[end - 1] !== 0x0a || equals < 0 || equals >= end)
      throw badLayer("it has a damaged extended header");
    const key = body.toString("latin1", space + 1, equals);
    const value = body.toString("latin1", equals + 1, end - 1);
    if (key.startsWith(XATTR)) into.xattrs.set(key.slice(XATTR.length), value);
    else if (key === "GNU.sparse.name") into.path = value;
    else if (key.startsWith(SPARSE)) into.sparse.push([key, value]);
    else if (value === "") into.records.delete(key);
    else into.records.set(key, value);
    at = end;
  }
}

/** `undefined` for a block of zeroes, with which archives end. */
export function readHeader(block: Buffer, extension: Extension): { readonly flag: string; readonly member: TarMember } | undefined {
  const sum = headerSum(block);
  if (sum === undefined) return undefined;
  const said = octal(block, 148, 8);
  if (said !== sum.unsigned && said !== sum.signed) throw badLayer("it is not a tar archive, or damaged");
  const flag = String.fromCharCode(block[156] ?? 0);
  const { records } = extension;
  const isUstar = block.toString("latin1", 257, 263) === "ustar\0";
  const prefix = isUstar ? text(block, 345, 155) : "";
  const short = text(block, 0, 100);
  const path = extension.path ?? records.get("path") ?? (prefix === "" ? short : `${prefix}/${short}`);
  const kind = kindOf(flag, path);
  const size = wholeNumber(records, "size") ?? number(block, 124, 12);
  return {
    flag,
    member: {
      kind,
      path,
      link: kind === "symlink" || kind === "hardlink" ? (extension.link ?? records.get("linkpath") ?? text(block, 157, 100)) : "",
      // The last twelve bits, of what a double holds.
      mode: modulo(number(block, 100, 8), 0o10000),
      uid: bounded(wholeNumber(records, "uid") ?? number(block, 108, 8), "a user id"),
      gid: bounded(wholeNumber(records, "gid") ?? number(block, 116, 8), "a group id"),
      mtime: mtimeOf(records.get("mtime") ?? String(number(block, 136, 12))),
      // As in Go's reader, which all other engines use: of links, folders and devices no content follows, whatever the size says.
      storedBytes: kind === "file" || !isMember(flag) ? bounded(size, "a size") : 0,
      xattrs: extension.xattrs.size === 0 ? NO_XATTRS : extension.xattrs,
      sparse: flag === "S" ? oldSparse(block) : extension.sparse.length === 0 ? NO_PIECES : extension.sparse,
    },
  };
}

/** Whether a type flag is that of a member, and not of something said about the next one. */
export const isMember = (flag: string): boolean => !"xgXLK".includes(flag);

function kindOf(flag: string, path: string): TarKind {
  switch (flag) {
    case "\0":
    case "0":
    case "7":
      // Archives older than the type of folders.
      return path.endsWith("/") && flag !== "7" ? "dir" : "file";
    case "S":
    case "x":
    case "X":
    case "g":
    case "L":
    case "K":
      return "file";
    case "1":
      return "hardlink";
    case "2":
      return "symlink";
    case "3":
      return "char";
    case "4":
      return "block";
    case "5":
      return "dir";
    case "6":
      return "fifo";
    default:
      throw badLayer(`it has an entry of the unknown type ${JSON.stringify(flag)}`);
  }
}

/** Old GNU sparse files: the first four pieces stand in the header, the rest in blocks after it (`readSparseBlock`). */
function oldSparse(block: Buffer): [string, string][] {
  return [["GNU.sparse.size", String(number(block, 483, 12))], ...sparsePieces(block, 386, 4)];
}

/** Pieces of the old form as format 0.1 says them: all in one record. */
export function joinPieces(records: readonly (readonly [string, string])[]): [string, string][] {
  const size = records.find(([key]) => key === "GNU.sparse.size")?.[1] ?? "0";
  const numbers = records.flatMap(([key, value]) => (key === "GNU.sparse.size" ? [] : [value]));
  return [
    ["GNU.sparse.size", size],
    ["GNU.sparse.numblocks", String(numbers.length / 2)],
    ["GNU.sparse.map", numbers.join(",")],
  ];
}

export const hasSparseBlock = (block: Buffer, first: boolean): boolean => block[first ? 482 : 504] === 1;
export const readSparseBlock = (block: Buffer): [string, string][] => sparsePieces(block, 0, 21);

function sparsePieces(block: Buffer, offset: number, count: number): [string, string][] {
  const pieces: [string, string][] = [];
  for (let at = offset; at < offset + count * 24 && block[at] !== 0; at += 24) {
    pieces.push(["GNU.sparse.offset", String(number(block, at, 12))], ["GNU.sparse.numbytes", String(number(block, at + 12, 12))]);
  }
  return pieces;
}

/** Both ways to add up a header's bytes, its checksum counted as spaces; nothing when all are zero. */
function headerSum(block: Buffer): { readonly unsigned: number; readonly signed: number } | undefined {
  let unsigned = 0;
  let high = 0;
  for (let at = 0; at < BLOCK_BYTES; at += 1) {
    const byte = at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
    unsigned += byte;
    if (byte > 127) high += 1;
  }
  if (unsigned === 8 * 0x20 && block.every((byte) => byte === 0)) return undefined;
  return { unsigned, signed: unsigned - 256 * high };
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.subarray(at, at + length).indexOf(0);
  return block.toString("latin1", at, end < 0 ? at + length : at + end);
}

function octal(block: Buffer, at: number, length: number): number {
  const digits = text(block, at, length).trim();
  if (digits === "") return 0;
  if (!/^[0-7]+$/.test(digits)) throw badLayer("it is not a tar archive, or damaged");
  return Number.parseInt(digits, 8);
}

/** Octal, or GNU's binary form for what does not fit. */
function number(block: Buffer, at: number, length: number): number {
  const first = block[at] ?? 0;
  if ((first & 0x80) === 0) return octal(block, at, length);
  let value = BigInt(first & 0x40 ? (first & 0x7f) - 0x80 : first & 0x7f);
  for (let next = at + 1; next < at + length; next += 1) value = value * 256n + BigInt(block[next] ?? 0);
  // What a double does not hold exactly is beyond every limit.
  return Number(value);
}

/** Never negative, as a mask of bits. */
const modulo = (value: number, by: number): number => ((value % by) + by) % by;

function wholeNumber(records: ReadonlyMap<string, string>, key: string): number | undefined {
  const value = records.get(key);
  if (value === undefined) return undefined;
  if (!/^\d{1,20}$/.test(value)) throw badLayer(`it has an entry whose ${key} is no number`);
  return Number(value);
}

function bounded(value: number, what: string): number {
  if (value < 0 || value > Number.MAX_SAFE_INTEGER) throw badLayer(`it has an entry with ${what} of ${value}`);
  return value;
}

/** Years 1900 to 2514: what file systems can keep. Others become 1970, as with podman. */
const MTIME_MIN = -(2 ** 31);
const MTIME_MAX = 2 ** 34;

function mtimeOf(value: string): string {
  const found = /^(-?\d{1,12})(?:\.(\d{1,40}))?$/.exec(value);
  const seconds = Number(found?.[1] ?? Number.NaN);
  if (!(seconds >= MTIME_MIN && seconds < MTIME_MAX)) return "0";
  return found?.[2] === undefined ? String(seconds) : `${seconds}.${found[2].slice(0, 9)}`;
}
