/** The asking side, in the words of another implementation of DNS. */
import { type Answer, type DecodedPacket, decode, encode, type RecordType } from "dns-packet";
import { type ContainerId, type Ip, parseCidr, parseIp, type VpcId } from "../../../src/base/index.ts";
import type { NamedContainer, NameTable } from "../../../src/vpc/names.ts";

export type Asked = { readonly id?: number; readonly payloadBytes?: number; readonly dnssecOk?: boolean; readonly flags?: number };

/** RD, as stub resolvers set it. */
const RECURSION_DESIRED = 0x100;

export function queryFor(name: string, type: RecordType = "A", asked: Asked = {}): Buffer {
  const { id = 7, payloadBytes, dnssecOk = false, flags = RECURSION_DESIRED } = asked;
  const opt: Answer = {
    type: "OPT",
    name: ".",
    udpPayloadSize: payloadBytes ?? 0,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: dnssecOk ? 0x8000 : 0,
    flag_do: dnssecOk,
    options: [],
  };
  return encode({ type: "query", id, flags, questions: [{ type, name }], additionals: payloadBytes === undefined ? [] : [opt] });
}

export type Read = {
  readonly packet: DecodedPacket;
  readonly rcode: number;
  readonly question: string | undefined;
  /** In the order of the answer. */
  readonly data: readonly string[];
  readonly ttls: readonly number[];
  readonly soa: string | undefined;
  readonly soaTtl: number | undefined;
  readonly edns: { readonly payloadBytes: number; readonly extendedRcode: number; readonly dnssecOk: boolean } | undefined;
};

export function readReply(bytes: Buffer): Read {
  const packet = decode(bytes);
  const soa = packet.authorities?.find((record) => record.type === "SOA");
  const opt = packet.additionals?.find((record) => record.type === "OPT");
  const plain = (packet.answers ?? []).flatMap((record) => ("data" in record && typeof record.data === "string" ? [{ ...record, data: record.data }] : []));
  return {
    packet,
    rcode: bytes.readUInt16BE(2) & 0xf,
    question: packet.questions?.[0]?.name,
    data: plain.map(({ data }) => data),
    ttls: (packet.answers ?? []).map((record) => ("ttl" in record ? (record.ttl ?? -1) : -1)),
    soa: soa?.name,
    soaTtl: soa?.type === "SOA" ? soa.data.minimum : undefined,
    edns: opt?.type === "OPT" ? { payloadBytes: opt.udpPayloadSize, extendedRcode: opt.extendedRcode, dnssecOk: opt.flag_do } : undefined,
  };
}

export function ip(text: string): Ip {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(`${text} is no address`);
  return parsed;
}

const idOf = (letter: string, number: number): string =>
  letter +
  number
    .toString(26)
    .replace(/\d/g, (digit) => "qrstuvwxyz"[Number(digit)] ?? "")
    .padStart(20, "a");

const vpcId = (number: number): VpcId => idOf("n", number) as VpcId;
export const containerId = (number: number): ContainerId => idOf("c", number) as ContainerId;

export type Given = Partial<Omit<NamedContainer, "address">> & { readonly address: string };

/** `containers`: by name. */
export function tableOf(name: string, containers: Readonly<Record<string, Given>>, more: { number?: number; cidr?: string; source?: string } = {}): NameTable {
  const { number = 1, cidr: cidrText = "10.7.0.0/16", source = "100.127.240.2" } = more;
  const cidr = parseCidr(cidrText);
  if (!cidr.ok) throw new Error(cidr.message);
  return {
    vpc: vpcId(number),
    name,
    cidr: cidr.value,
    gateway: { family: 4, value: cidr.value.base.value + 1n },
    source: ip(source),
    containers: Object.entries(containers).map(([own, { address, ...given }], at) => ({
      id: containerId(number * 1_000 + at),
      name: own,
      labels: {},
      healthy: true,
      ...given,
      address: ip(address),
    })),
  };
}
