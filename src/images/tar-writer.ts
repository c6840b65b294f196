import { BLOCK_BYTES, type TarKind, type TarMember } from "./tar-member.ts";

const FLAGS: Readonly<Record<TarKind, string>> = { file: "0", hardlink: "1", symlink: "2", char: "3", block: "4", dir: "5", fifo: "6" };
const NAME_BYTES = 100;

/** The end of an archive. */
export const ARCHIVE_END: Buffer = Buffer.alloc(2 * BLOCK_BYTES);

/**
 * The header of a member in the one way that this program writes it, with extended headers before it where they are
 * needed: GNU's for long names (pax would translate their bytes), pax for the rest.
 */
export function writeHeader(member: TarMember): readonly Buffer[] {
  const parts: Buffer[] = [];
  const records: (readonly [string, string])[] = [];
  const simpleTime = /^\d{1,11}$/.test(member.mtime) && Number(member.mtime) < 8 ** 11;
  if (!simpleTime) records.push(["mtime", member.mtime]);
  for (const [name, value] of member.xattrs) records.push([`SCHILY.xattr.${name}`, value]);
  for (const record of member.sparse) records.push(record);
  if (member.sparse.length > 0) records.push(["GNU.sparse.name", member.path]);
  if (records.length > 0) parts.push(...extension("x", Buffer.from(records.map(([key, value]) => paxRecord(key, value)).join(""), "latin1")));
  if (member.link.length > NAME_BYTES) parts.push(...extension("K", Buffer.from(`${member.link}\0`, "latin1")));
  if (member.path.length > NAME_BYTES) parts.push(...extension("L", Buffer.from(`${member.path}\0`, "latin1")));
  parts.push(header(FLAGS[member.kind], { ...member, mtime: simpleTime ? member.mtime : "0" }));
  return parts;
}

/** What fills the last block of so much content. */
export function padding(bytes: number): Buffer {
  return ARCHIVE_END.subarray(0, (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

type Fields = Pick<TarMember, "path" | "link" | "mode" | "uid" | "gid" | "mtime" | "storedBytes">;

function extension(flag: "x" | "L" | "K", body: Buffer): readonly Buffer[] {
  return [header(flag, { path: "x", link: "", mode: 0, uid: 0, gid: 0, mtime: "0", storedBytes: body.length }), body, padding(body.length)];
}

function header(flag: string, fields: Fields): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.write(fields.path, 0, NAME_BYTES, "latin1");
  number(block, fields.mode, 100, 8);
  number(block, fields.uid, 108, 8);
  number(block, fields.gid, 116, 8);
  number(block, fields.storedBytes, 124, 12);
  number(block, Number(fields.mtime), 136, 12);
  block.fill(0x20, 148, 156);
  block.write(flag, 156, "latin1");
  block.write(fields.link, 157, NAME_BYTES, "latin1");
  // By it tar tells in which way sparse files are said.
  block.write("ustar\u000000", 257, "latin1");
  let sum = 0;
  for (let at = 0; at < BLOCK_BYTES; at += 1) sum += block[at] ?? 0;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** Octal, or GNU's binary form for what does not fit. */
function number(block: Buffer, value: number, at: number, length: number): void {
  const digits = value.toString(8);
  if (digits.length < length) block.write(`${digits.padStart(length - 1, "0")}\0`, at, "latin1");
  else {
    let rest = BigInt(value);
    for (let index = at + length - 1; index > at; index -= 1, rest /= 256n) block[index] = Number(rest % 256n);
    block[at] = 0x80;
  }
}

/** One record of a pax extended header; its length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}
