/**
 * The bytes of DNS messages (RFC 1035, 6891), as much as a name server for A and PTR records has to know of them. Of a
 * query its header, question and EDNS record are read; of an upstream's answer only its header and question. Everything else passes
 * as it came. Names are never made into text and back: an answer carries the question's own bytes, so that every byte that a
 * name may hold, and the case of its letters (0x20), come back as they were asked, and records point to them.
 */
export const TYPE = { A: 1, SOA: 6, PTR: 12, AAAA: 28, OPT: 41, IXFR: 251, AXFR: 252, ANY: 255 } as const;
export const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;
export const CLASS_IN = 1;

export type Transport = "udp" | "tcp";

export type Question = {
  /** Name, type and class as they stand in the packet, right behind its header. */
  readonly bytes: Buffer;
  /** Of the name, in lower case, without the root; a byte a character, and a dot inside a label escaped: no name of ours has one. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
};

export type Edns = { readonly payloadBytes: number; readonly version: number; readonly dnssecOk: boolean };

export type Query = {
  readonly id: number;
  /** Of those asked: recursion desired, authentic data, checking disabled. */
  readonly flags: number;
  readonly question: Question;
  readonly edns: Edns | undefined;
};

export type ParsedQuery =
  | { readonly kind: "query"; readonly query: Query }
  /** It is answered so, whatever it asks. */
  | { readonly kind: "refused"; readonly reply: Buffer }
  /** Answered by nothing: no query at all. An answer that were answered could go to and fro for ever. */
  | { readonly kind: "none" };

export const HEADER_BYTES = 12;
const LABEL_BYTES_MAX = 63;
const NAME_BYTES_MAX = 255;
/** A query has an EDNS record and perhaps a signature behind its question. */
const ADDITIONAL_MAX = 4;

export const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionAvailable: 0x0080 } as const;
export const OPCODE_MASK = 0x7800;
/** Recursion desired, authentic data, checking disabled. */
const ASKED_MASK = 0x0130;
/** Recursion desired and checking disabled stand in an answer as they were asked. */
const COPIED_MASK = 0x0110;
const DNSSEC_OK = 0x8000;

/** Larger UDP answers may be cut into fragments on the way, which firewalls drop (DNS flag day 2020). */
export const UDP_BYTES_MAX = 1_232;
const UDP_BYTES_WITHOUT_EDNS = 512;
const TCP_BYTES_MAX = 65_535;

/** What an answer to this query may take. */
export function answerBytesMax({ edns }: Pick<Query, "edns">, via: Transport): number {
  if (via === "tcp") return TCP_BYTES_MAX;
  return edns === undefined ? UDP_BYTES_WITHOUT_EDNS : Math.min(Math.max(edns.payloadBytes, UDP_BYTES_WITHOUT_EDNS), UDP_BYTES_MAX);
}

export function parseQuery(packet: Buffer): ParsedQuery {
  if (packet.length < HEADER_BYTES || (packet.readUInt16BE(2) & FLAG.response) !== 0) return { kind: "none" };
  const flags = packet.readUInt16BE(2);
  const refused = (rcode: number): ParsedQuery => ({ kind: "refused", reply: headerOnly(packet, rcode) });
  if ((flags & OPCODE_MASK) !== 0) return refused(RCODE.NOTIMP);
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => packet.readUInt16BE(at));
  if (questions !== 1 || answers !== 0 || authorities !== 0 || additionals === undefined || additionals > ADDITIONAL_MAX) return refused(RCODE.FORMERR);
  const question = readQuestion(packet);
  if (question === undefined) return refused(RCODE.FORMERR);
  const edns = readEdns(packet, HEADER_BYTES + question.bytes.length, additionals);
  if (edns === "malformed") return refused(RCODE.FORMERR);
  return { kind: "query", query: { id: packet.readUInt16BE(0), flags: flags & ASKED_MASK, question, edns } };
}

/** For what cannot be read further: as long as a header, so never longer than what it answers. */
function headerOnly(packet: Buffer, rcode: number): Buffer {
  const reply = Buffer.alloc(HEADER_BYTES);
  reply.writeUInt16BE(packet.readUInt16BE(0), 0);
  reply.writeUInt16BE(FLAG.response | FLAG.recursionAvailable | (packet.readUInt16BE(2) & (OPCODE_MASK | COPIED_MASK)) | rcode, 2);
  return reply;
}

/** The first question of a packet that says it has one. Undefined where it is malformed; nothing lies before it to point to. */
export function readQuestion(packet: Buffer): Question | undefined {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = packet[at]; length !== 0; length = packet[at]) {
    if (length === undefined || length > LABEL_BYTES_MAX || at + 1 + length >= packet.length || at - HEADER_BYTES > NAME_BYTES_MAX) return undefined;
    labels.push(labelText(packet.toString("latin1", at + 1, at + 1 + length)));
    at += 1 + length;
  }
  at += 1;
  if (at - HEADER_BYTES > NAME_BYTES_MAX || at + 4 > packet.length) return undefined;
  return { bytes: packet.subarray(HEADER_BYTES, at + 4), labels, type: packet.readUInt16BE(at), class: packet.readUInt16BE(at + 2) };
}

function labelText(label: string): string {
  return lowerCase(label.includes(".") ? label.replaceAll(".", "\\.") : label);
}

/** Two names are the same when these are. */
export function nameText({ bytes }: Question): string {
  return lowerCase(bytes.toString("latin1", 0, bytes.length - 4));
}

/** Of ASCII letters only, as DNS has it: other bytes are different names. */
export function lowerCase(text: string): string {
  return text.replace(/[A-Z]+/g, (upper) => upper.toLowerCase());
}

function readEdns(packet: Buffer, start: number, count: number): Edns | undefined | "malformed" {
  let at = start;
  let edns: Edns | undefined;
  for (let record = 0; record < count; record += 1) {
    const isRoot = packet[at] === 0;
    const fixed = endOfName(packet, at);
    if (fixed === undefined || fixed + 10 > packet.length) return "malformed";
    if (packet.readUInt16BE(fixed) === TYPE.OPT) {
      if (!isRoot || edns !== undefined) return "malformed";
      edns = {
        payloadBytes: packet.readUInt16BE(fixed + 2),
        version: packet.readUInt8(fixed + 5),
        dnssecOk: (packet.readUInt16BE(fixed + 6) & DNSSEC_OK) !== 0,
      };
    }
    at = fixed + 10 + packet.readUInt16BE(fixed + 8);
  }
  // Bytes behind the last record: whoever made it counts otherwise than we do.
  return at === packet.length ? edns : "malformed";
}

function endOfName(packet: Buffer, start: number): number | undefined {
  let at = start;
  for (let length = packet[at]; length !== undefined; length = packet[at]) {
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    if (length > LABEL_BYTES_MAX) return undefined;
    at += 1 + length;
  }
  return undefined;
}

/** A record of the name that was asked for. */
export type ReplyRecord = { readonly type: number; readonly data: Buffer };

export type Reply = {
  readonly rcode: number;
  readonly records: readonly ReplyRecord[];
  /** How many of the question's last labels are the zone that answers; undefined: nobody is the authority. */
  readonly zoneLabels: number | undefined;
};

/** An answer holds for a second: less than records take to say that something is gone, and enough that a program which asks in a loop asks once. */
const ANSWER_TTL_S = 1;
/** As short: the container that is missing may be about to start. */
const NEGATIVE_TTL_S = 1;
const RECORD_BYTES = 12;
const OPT_BYTES = 11;

/** As many records as `bytesMax` has room for; where not all fit, the answer says that it is cut. Without records the zone's SOA tells how long that holds. */
export function encodeReply(query: Query, reply: Reply, bytesMax: number): Buffer {
  const { question, edns } = query;
  const { records, zoneLabels } = reply;
  const soa = records.length > 0 || zoneLabels === undefined ? undefined : soaData(question, zoneLabels);
  let bytes = HEADER_BYTES + question.bytes.length + (edns === undefined ? 0 : OPT_BYTES);
  let fitting = 0;
  for (const { data } of records) {
    if (bytes + RECORD_BYTES + data.length > bytesMax) break;
    bytes += RECORD_BYTES + data.length;
    fitting += 1;
  }
  if (soa !== undefined) bytes += RECORD_BYTES + soa.length;
  const packet = Buffer.allocUnsafe(bytes);
  const authority = zoneLabels === undefined ? 0 : FLAG.authoritative;
  const cut = fitting < records.length ? FLAG.truncated : 0;
  packet.writeUInt16BE(query.id, 0);
  packet.writeUInt16BE(FLAG.response | FLAG.recursionAvailable | (query.flags & COPIED_MASK) | authority | cut | (reply.rcode & 0xf), 2);
  packet.writeUInt16BE(1, 4);
  packet.writeUInt16BE(fitting, 6);
  packet.writeUInt16BE(soa === undefined ? 0 : 1, 8);
  packet.writeUInt16BE(edns === undefined ? 0 : 1, 10);
  let at = HEADER_BYTES + question.bytes.copy(packet, HEADER_BYTES);
  for (let record = 0; record < fitting; record += 1) at = writeRecord(packet, at, HEADER_BYTES, records[record], ANSWER_TTL_S);
  if (soa !== undefined && zoneLabels !== undefined)
    at = writeRecord(packet, at, zoneOffset(question, zoneLabels), { type: TYPE.SOA, data: soa }, NEGATIVE_TTL_S);
  if (edns !== undefined) optBytes(reply.rcode >> 4, edns.dnssecOk).copy(packet, at);
  return packet;
}

/** A record whose name stands at `nameAt`; where the next one begins. */
function writeRecord(packet: Buffer, at: number, nameAt: number, record: ReplyRecord | undefined, ttlS: number): number {
  if (record === undefined) return at;
  packet.writeUInt16BE(0xc000 | nameAt, at);
  packet.writeUInt16BE(record.type, at + 2);
  packet.writeUInt16BE(CLASS_IN, at + 4);
  packet.writeUInt32BE(ttlS, at + 6);
  packet.writeUInt16BE(record.data.length, at + 10);
  return at + RECORD_BYTES + record.data.copy(packet, at + RECORD_BYTES);
}

/** Says how much we take by UDP, and nothing that the other side's options asked for. */
export function optBytes(extendedRcode: number, dnssecOk: boolean): Buffer {
  const opt = Buffer.alloc(OPT_BYTES);
  opt.writeUInt16BE(TYPE.OPT, 1);
  opt.writeUInt16BE(UDP_BYTES_MAX, 3);
  opt.writeUInt8(extendedRcode, 5);
  opt.writeUInt16BE(dnssecOk ? DNSSEC_OK : 0, 7);
  return opt;
}

function zoneOffset({ bytes, labels }: Question, zoneLabels: number): number {
  let at = 0;
  for (let label = labels.length; label > zoneLabels; label -= 1) at += 1 + (bytes[at] ?? 0);
  return HEADER_BYTES + at;
}

/** The zone itself is its server; nobody transfers it, so its serial and intervals mean nothing. */
export function soaData(question: Question, zoneLabels: number): Buffer {
  const pointer = Buffer.alloc(2);
  pointer.writeUInt16BE(0xc000 | zoneOffset(question, zoneLabels));
  const numbers = Buffer.alloc(20);
  for (const [at, value] of [1, 3_600, 600, 86_400, NEGATIVE_TTL_S].entries()) numbers.writeUInt32BE(value, 4 * at);
  return Buffer.concat([pointer, nameBytes(["hostmaster"]).subarray(0, -1), pointer, numbers]);
}

/** A name of labels that are valid. */
export function nameBytes(labels: readonly string[]): Buffer {
  return Buffer.concat([...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, "latin1")]), Buffer.alloc(1)]);
}
