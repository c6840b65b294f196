import { type Ip, isSameIp } from "../../../base/index.ts";
import type { PortProtocol } from "../../published-port.ts";

/** PCP (RFC 6887) as bytes: the requests that we send, and what comes back. All numbers are big-endian. */
const VERSION = 2;
const NAT_PMP_VERSION = 0;
const RESPONSE_BIT = 0x80;
const ANNOUNCE = 0;
const MAP = 1;
const HEADER_BYTES = 24;
const MAP_BYTES = 60;
const PACKET_BYTES_MAX = 1_100;
export const NONCE_BYTES = 12;
const PROTOCOL_NUMBERS: Readonly<Record<PortProtocol, number>> = { tcp: 6, udp: 17 };
const V4_MAPPED = 0xffffn << 32n;

export type PcpMapRequest = {
  readonly client: Ip;
  /** 0 removes it. */
  readonly lifetimeSeconds: number;
  /** 96 bits that the router asks for again whenever the mapping is changed. */
  readonly nonce: Uint8Array;
  readonly protocol: PortProtocol;
  readonly internalPort: number;
  /** 0: any. */
  readonly externalPort: number;
};

export type PcpAnswer =
  | { readonly kind: "announce"; readonly result: number; readonly lifetimeSeconds: number; readonly epochSeconds: number }
  | {
      readonly kind: "map";
      readonly result: number;
      readonly lifetimeSeconds: number;
      readonly epochSeconds: number;
      /** Undefined: an error that does not repeat the request. */
      readonly mapping: PcpMapping | undefined;
    }
  /** A router that knows only the older NAT-PMP answers so to every other version. */
  | { readonly kind: "nat-pmp" };

export type PcpMapping = {
  readonly nonce: Uint8Array;
  readonly protocolNumber: number;
  readonly internalPort: number;
  readonly externalPort: number;
  readonly externalAddress: Ip;
};

export function encodeAnnounce(client: Ip): Uint8Array {
  return header(ANNOUNCE, 0, client, HEADER_BYTES);
}

export function encodeMap({ client, lifetimeSeconds, nonce, protocol, internalPort, externalPort }: PcpMapRequest): Uint8Array {
  const bytes = header(MAP, lifetimeSeconds, client, MAP_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(nonce.subarray(0, NONCE_BYTES), 24);
  bytes[36] = PROTOCOL_NUMBERS[protocol];
  view.setUint16(40, internalPort);
  view.setUint16(42, externalPort);
  // Any external address, of the client's family: a router of a home has one, and the one that it had may have changed.
  writeAddress(view, 44, { family: client.family, value: 0n });
  return bytes;
}

function header(opcode: number, lifetimeSeconds: number, client: Ip, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  bytes[0] = VERSION;
  bytes[1] = opcode;
  view.setUint32(4, lifetimeSeconds);
  writeAddress(view, 8, client);
  return bytes;
}

/** Addresses have 128 bits, IPv4's as ::ffff:a.b.c.d. */
function writeAddress(view: DataView, at: number, ip: Ip): void {
  const value = ip.family === 4 ? V4_MAPPED | ip.value : ip.value;
  view.setBigUint64(at, value >> 64n);
  view.setBigUint64(at + 8, value & 0xffff_ffff_ffff_ffffn);
}

function readAddress(view: DataView, at: number): Ip {
  const value = (view.getBigUint64(at) << 64n) | view.getBigUint64(at + 8);
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffff_ffffn } : { family: 6, value };
}

/** Undefined: no answer, or none that RFC 6887 allows. */
export function decodeAnswer(bytes: Uint8Array): PcpAnswer | undefined {
  const opcode = (bytes[1] ?? 0) & ~RESPONSE_BIT;
  if (bytes.length > PACKET_BYTES_MAX || ((bytes[1] ?? 0) & RESPONSE_BIT) === 0) return undefined;
  // All answers of NAT-PMP have a result in 16 bits and the epoch behind it.
  if (bytes[0] === NAT_PMP_VERSION) return bytes.length >= 8 ? { kind: "nat-pmp" } : undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result = bytes[3] ?? 0;
  // Another version may stand in the answer that says no to ours.
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0 || (bytes[0] !== VERSION && result === 0)) return undefined;
  const common = { result, lifetimeSeconds: view.getUint32(4), epochSeconds: view.getUint32(8) };
  if (opcode === ANNOUNCE) return { kind: "announce", ...common };
  if (opcode !== MAP || (bytes.length < MAP_BYTES && result === 0)) return undefined;
  if (bytes.length < MAP_BYTES) return { kind: "map", ...common, mapping: undefined };
  return {
    kind: "map",
    ...common,
    mapping: {
      nonce: bytes.slice(24, 24 + NONCE_BYTES),
      protocolNumber: bytes[36] ?? 0,
      internalPort: view.getUint16(40),
      externalPort: view.getUint16(42),
      externalAddress: readAddress(view, 44),
    },
  };
}

/** Whether an answer is to this request. An error that repeats nothing may be to any. */
export function isAnswerTo(request: PcpMapRequest, answer: PcpAnswer): boolean {
  if (answer.kind !== "map") return answer.kind === "nat-pmp" || answer.result !== 0;
  const { mapping } = answer;
  if (mapping === undefined) return true;
  const { nonce, protocolNumber, internalPort } = mapping;
  return (
    protocolNumber === PROTOCOL_NUMBERS[request.protocol] && internalPort === request.internalPort && nonce.every((byte, at) => byte === request.nonce[at])
  );
}

/** Whether a granted mapping has an external address at all. */
export const hasAddress = ({ externalAddress }: PcpMapping): boolean => !isSameIp(externalAddress, { family: externalAddress.family, value: 0n });
