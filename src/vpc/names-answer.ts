import type { Ip, Random } from "../base/index.ts";
import { findName, type NameIndex } from "./names.ts";
import {
  answerBytesMax,
  CLASS_IN,
  encodeReply,
  nameBytes,
  parseQuery,
  type Query,
  RCODE,
  type Reply,
  type ReplyRecord,
  soaData,
  type Transport,
  TYPE,
  UDP_BYTES_MAX,
} from "./names-message.ts";

/** What becomes of a packet that came as a query. */
export type Answer =
  | { readonly kind: "reply"; readonly bytes: Buffer }
  /** The host's resolvers are asked. */
  | { readonly kind: "forward"; readonly query: Query }
  | { readonly kind: "none" };

/** Addresses of a group in one answer, over TCP too: 16 KiB. Of a larger group each answer has others. */
export const GROUP_ADDRESSES_MAX = 1_024;
/** More than a UDP answer has room for (16 bytes each): that one is left over says that the answer is cut. */
const GROUP_ADDRESSES_UDP = Math.ceil(UDP_BYTES_MAX / 16);

/** Total: whatever the packet holds, there is an answer, and none is larger than the transport and the asking side allow. */
export function answer(index: NameIndex, packet: Buffer, via: Transport, random: Random): Answer {
  const parsed = parseQuery(packet);
  if (parsed.kind === "none") return { kind: "none" };
  if (parsed.kind === "refused") return { kind: "reply", bytes: parsed.reply };
  const { query } = parsed;
  const reply = replyTo(index, query, via, random);
  return reply === undefined ? { kind: "forward", query } : { kind: "reply", bytes: encodeReply(query, reply, answerBytesMax(query, via)) };
}

/** An answer without anything but its code: refused, or failed. */
export function encodeFailure(query: Query, rcode: number): Buffer {
  return encodeReply(query, failure(rcode), answerBytesMax(query, "udp"));
}

const failure = (rcode: number): Reply => ({ rcode, records: [], zoneLabels: undefined });

function replyTo(index: NameIndex, query: Query, via: Transport, random: Random): Reply | undefined {
  const { question, edns } = query;
  if (edns !== undefined && edns.version > 0) return failure(RCODE.BADVERS);
  // Other classes, and zone transfers, are asked by nobody who only wants to reach something.
  if (question.class !== CLASS_IN || question.type === TYPE.AXFR || question.type === TYPE.IXFR) return failure(RCODE.REFUSED);
  const found = findName(index, question.labels);
  if (found.kind === "elsewhere") return undefined;
  const { zoneLabels } = found;
  const rcode = found.kind === "absent" ? RCODE.NXDOMAIN : RCODE.NOERROR;
  const isAsked = (type: number): boolean => question.type === type || question.type === TYPE.ANY;
  if (found.kind === "addresses") {
    const asked = found.addresses.filter(({ family }) => isAsked(family === 4 ? TYPE.A : TYPE.AAAA));
    const picked = shuffled(random, asked, via === "udp" ? GROUP_ADDRESSES_UDP : GROUP_ADDRESSES_MAX);
    return { rcode, records: picked.map(addressRecord), zoneLabels };
  }
  if (found.kind === "host" && isAsked(TYPE.PTR)) return { rcode, records: [{ type: TYPE.PTR, data: nameBytes(found.labels) }], zoneLabels };
  if (found.kind === "zone" && isAsked(TYPE.SOA)) return { rcode, records: [{ type: TYPE.SOA, data: soaData(question, zoneLabels) }], zoneLabels };
  return { rcode, records: [], zoneLabels };
}

function addressRecord({ family, value }: Ip): ReplyRecord {
  if (family === 4) return { type: TYPE.A, data: Buffer.from([24n, 16n, 8n, 0n].map((shift) => Number((value >> shift) & 0xffn))) };
  return { type: TYPE.AAAA, data: Buffer.from(value.toString(16).padStart(32, "0"), "hex") };
}

/** At most `count` of the items, each as likely in each place. `sample` in base moves the rest at each draw, which thousands of times a second is too slow. */
function shuffled<T>(random: Random, items: readonly T[], count: number): readonly T[] {
  if (items.length < 2) return items;
  const pool = [...items];
  const end = Math.min(count, pool.length);
  for (let at = 0; at < end; at += 1) {
    const other = at + random.below(pool.length - at);
    const [mine, theirs] = [pool[at], pool[other]];
    if (mine === undefined || theirs === undefined) continue;
    pool[at] = theirs;
    pool[other] = mine;
  }
  return pool.slice(0, end);
}
