import { answerBytesMax, FLAG, HEADER_BYTES, nameText, OPCODE_MASK, optBytes, type Query, RCODE, readQuestion, type Transport } from "./names-message.ts";

/** An upstream's answer to a question of ours. */
export type UpstreamAnswer = {
  readonly rcode: number;
  readonly truncated: boolean;
  /** Undefined: the upstream understood nothing of the question but who asks, and says only its code. */
  readonly packet: Buffer | undefined;
};

/**
 * What is asked of an upstream: the question, and of EDNS only that it is spoken. The rest of what a container sent stays here, so
 * that nothing malformed and no mark of a client is passed on.
 */
export function upstreamQuery({ flags, question, edns }: Query, id: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(edns === undefined ? 0 : 1, 10);
  return Buffer.concat([header, question.bytes, ...(edns === undefined ? [] : [optBytes(0, edns.dnssecOk)])]);
}

/** Queries with the same key get the same answer. The case of letters does not count: each gets its own back. */
export function questionKey({ flags, question, edns }: Query, via: Transport): string {
  return `${via} ${flags} ${edns === undefined ? "-" : edns.dnssecOk} ${question.type} ${question.class} ${nameText(question)}`;
}

/** Undefined: the packet is no answer to this query under this id, and is as if it had not come. */
export function readUpstream(query: Query, id: number, packet: Buffer): UpstreamAnswer | undefined {
  if (packet.length < HEADER_BYTES || packet.readUInt16BE(0) !== id) return undefined;
  const flags = packet.readUInt16BE(2);
  if ((flags & FLAG.response) === 0 || (flags & OPCODE_MASK) !== 0) return undefined;
  const rcode = flags & 0xf;
  const questions = packet.readUInt16BE(4);
  if (questions === 0 && packet.length === HEADER_BYTES && rcode !== RCODE.NOERROR) return { rcode, truncated: false, packet: undefined };
  const question = questions === 1 ? readQuestion(packet) : undefined;
  const isSame =
    question !== undefined &&
    question.type === query.question.type &&
    question.class === query.question.class &&
    nameText(question) === nameText(query.question);
  return isSame ? { rcode, truncated: (flags & FLAG.truncated) !== 0, packet } : undefined;
}

/** Another server may know more: this one is broken, or does not serve us. */
export function isWorthAsking({ rcode }: UpstreamAnswer): boolean {
  return rcode === RCODE.SERVFAIL || rcode === RCODE.REFUSED || rcode === RCODE.NOTIMP;
}

/** The upstream's packet as the answer to `query`: with its id and its own letters. Too large for it: only that it is cut. */
export function passOn(query: Query, packet: Buffer, via: Transport): Buffer {
  const { question, edns } = query;
  const isCut = packet.length > answerBytesMax(query, via);
  const reply = isCut
    ? Buffer.concat([packet.subarray(0, HEADER_BYTES), question.bytes, ...(edns === undefined ? [] : [optBytes(0, edns.dnssecOk)])])
    : Buffer.from(packet);
  reply.writeUInt16BE(query.id, 0);
  if (!isCut) {
    question.bytes.copy(reply, HEADER_BYTES);
    return reply;
  }
  reply.writeUInt16BE(reply.readUInt16BE(2) | FLAG.truncated, 2);
  for (const [at, count] of [1, 0, 0, edns === undefined ? 0 : 1].entries()) reply.writeUInt16BE(count, 4 + 2 * at);
  return reply;
}

/** Servers that have just been silent come last, so that a dead one costs its time once and not at each question. */
export function orderServers(servers: readonly string[], silentUntilMs: ReadonlyMap<string, number>, nowMs: number): readonly string[] {
  const isSilent = (server: string): boolean => (silentUntilMs.get(server) ?? 0) > nowMs;
  return [...servers.filter((server) => !isSilent(server)), ...servers.filter(isSilent)];
}
