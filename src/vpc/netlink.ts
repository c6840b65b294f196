/** rtnetlink's messages as the kernel sends them, in the byte order of the processors that peers run on (both little-endian). */

const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
/** Above it are marks of nesting and byte order. */
const ATTRIBUTE_TYPE = 0x3fff;
const [ERROR, DONE] = [2, 3];
/** The largest head of a message that is read here. */
const BODY_BYTES_MIN = 12;

export type NetlinkMessage = { readonly type: number; readonly body: Buffer };
export type Attributes = ReadonlyMap<number, Buffer>;

const aligned = (bytes: number): number => (bytes + 3) & ~3;

/** The messages of a whole dump. Undefined: its end is not there, so it was cut off, or the kernel refused it. */
export function messagesOf(dump: Buffer): readonly NetlinkMessage[] | undefined {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER_BYTES <= dump.length; ) {
    const length = dump.readUInt32LE(at);
    const type = dump.readUInt16LE(at + 4);
    if (type === DONE) return messages;
    if (type === ERROR || length < HEADER_BYTES + BODY_BYTES_MIN || at + length > dump.length) return undefined;
    messages.push({ type, body: dump.subarray(at + HEADER_BYTES, at + length) });
    at += aligned(length);
  }
  return undefined;
}

/** Those of `types`: a device alone has fifty others. None comes twice. */
export function attributesOf(bytes: Buffer, types: ReadonlySet<number>, from = 0): Attributes {
  const attributes = new Map<number, Buffer>();
  for (let at = from; at + ATTRIBUTE_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > bytes.length) break;
    const type = bytes.readUInt16LE(at + 2) & ATTRIBUTE_TYPE;
    if (types.has(type)) attributes.set(type, bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length));
    at += aligned(length);
  }
  return attributes;
}

export const textOf = (value: Buffer | undefined): string => value?.toString("utf8").replace(/\0.*$/s, "") ?? "";

/** An unsigned number of 1, 2 or 4 bytes. */
export const numberOf = (value: Buffer | undefined): number | undefined =>
  value === undefined || ![1, 2, 4].includes(value.length) ? undefined : value.readUIntLE(0, value.length);

export const macOfBytes = (value: Buffer | undefined): string =>
  value?.length === 6 ? [...value].map((byte) => byte.toString(16).padStart(2, "0")).join(":") : "";
