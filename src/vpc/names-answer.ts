import type { Random } from "../base/index.ts";
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
    const { v4, v6 } = found.addresses;
    const asked = isAsked(TYPE.A) ? (isAsked(TYPE.AAAA) ? [...v4, ...v6] : v4) : isAsked(TYPE.AAAA) ? v6 : [];
    return { rcode, records: shuffled(random, asked, via === "udp" ? GROUP_ADDRESSES_UDP : GROUP_ADDRESSES_MAX), zoneLabels };
  }
  if (found.kind === "host" && isAsked(TYPE.PTR)) return { rcode, records: [{ type: TYPE.PTR, data: nameBytes(found.labels) }], zoneLabels };
  if (found.kind === "zone" && isAsked(TYPE.SOA)) return { rcode, records: [{ type: TYPE.SOA, data: soaData(question, zoneLabels) }], zoneLabels };
  return { rcode, records: [], zoneLabels };
}

/**
 * At most `count` of the items, each as likely in each place: a shuffle that only makes the first places, and remembers of the others which
 * were changed. `sample` in base moves all that is left at each draw, which is too slow for thousands of questions a second.
 */
function shuffled<T>(random: Random, items: readonly T[], count: number): readonly T[] {
  if (items.length < 2) return items;
  const moved = new Map<number, T>();
  const at = (place: number): T | undefined => moved.get(place) ?? items[place];
  const picked: T[] = [];
  for (let place = 0; place < count && place < items.length; place += 1) {
    const other = place + random.below(items.length - place);
    const [mine, theirs] = [at(place), at(other)];
    if (mine === undefined || theirs === undefined) break;
    picked.push(theirs);
    moved.set(other, mine);
  }
  return picked;
}
