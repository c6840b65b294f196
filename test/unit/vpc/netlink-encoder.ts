import { isIPv4 } from "node:net";
import { parseIp } from "../../../src/base/index.ts";

/** The kernel's side of a dump, by the numbers of its uapi headers: written down a second time, apart from the code that reads them. */

type Value = Buffer | number | string | readonly (readonly [type: number, value: Value])[];
type Attribute = readonly [type: number, value: Value];

export const u8 = (value: number): Buffer => Buffer.from([value]);
export const u16 = (value: number): Buffer => Buffer.from([value & 255, value >> 8]);
export const be16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
export const mac = (text: string): Buffer => Buffer.from(text.replaceAll(":", ""), "hex");
export const address = (text: string): Buffer => Buffer.from((parseIp(text)?.value ?? 0n).toString(16).padStart(isIPv4(text) ? 8 : 32, "0"), "hex");

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

/** Numbers as 32 bits, texts with a zero behind, lists as nested attributes. */
function attribute([type, value]: Attribute): Buffer {
  const isNested = Array.isArray(value);
  const bytes = Buffer.isBuffer(value)
    ? value
    : typeof value === "number"
      ? u32(value)
      : typeof value === "string"
        ? Buffer.from(`${value}\0`)
        : Buffer.concat((value as readonly Attribute[]).map(attribute));
  // The kernel marks nested ones, but not everywhere.
  return padded(Buffer.concat([u16(bytes.length + 4), u16(isNested ? type | 0x8000 : type), bytes]));
}

function message(type: number, head: Buffer, attributes: readonly Attribute[]): Buffer {
  const body = Buffer.concat([head, ...attributes.map(attribute)]);
  return padded(Buffer.concat([u32(body.length + 16), u16(type), u16(2), u32(1), u32(77), body]));
}

const done = Buffer.concat([u32(20), u16(3), u16(2), u32(1), u32(77), u32(0)]);

export const link = (index: number, isUp: boolean, attributes: readonly Attribute[]): Buffer =>
  message(16, Buffer.concat([u16(0), u16(1), u32(index), u32(isUp ? 0x1043 : 0x1002), u32(0)]), attributes);

export const ipv4Address = (index: number, bits: number, local: string, peer = local): Buffer =>
  message(20, Buffer.concat([u8(2), u8(bits), u8(0x80), u8(0), u32(index)]), [
    [1, address(peer)],
    [2, address(local)],
  ]);

export type RouteHead = { readonly bits: number; readonly table?: number; readonly protocol: number; readonly scope: number; readonly type?: number };
export const route = ({ bits, table = 254, protocol, scope, type = 1 }: RouteHead, attributes: readonly Attribute[]): Buffer =>
  message(24, Buffer.concat([u8(2), u8(bits), u8(0), u8(0), u8(table), u8(protocol), u8(scope), u8(type), u32(0)]), [[15, table], ...attributes]);

export const neighbour = (family: number, index: number, state: number, flags: number, attributes: readonly Attribute[]): Buffer =>
  message(28, Buffer.concat([u8(family), u8(0), u16(0), u32(index), u16(state), u8(flags), u8(1)]), attributes);

export const dump = (...messages: readonly Buffer[]): Buffer => Buffer.concat([...messages, done]);

/** One namespace as the observing program writes it. */
export function section(name: string, sysctls: readonly string[], dumps: readonly Buffer[]): Buffer {
  const be32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const counted = (bytes: Buffer): Buffer => Buffer.concat([be32(bytes.length), bytes]);
  return Buffer.concat([
    counted(Buffer.from(name)),
    counted(Buffer.from(sysctls.map((line) => `${line}\n`).join(""))),
    be32(dumps.length),
    ...dumps.map(counted),
  ]);
}
