import { create } from "@bufbuild/protobuf";
import { type BidAnswer, BidAnswerSchema } from "../api/gen/cc/v1/cloud_pb.ts";
import type { PeerId } from "../base/index.ts";
import { toRow } from "./answers.ts";
import type { Round } from "./awaited.ts";
import type { KnownHost } from "./requirements.ts";

const HOSTS_IN_MESSAGE_MAX = 16;

/** Every host's answer, as `--explain` shows it: those that were not reachable are there too. */
export function explainRows(round: Round, unreachable: readonly KnownHost[], chosen: PeerId | undefined): BidAnswer[] {
  const rows: BidAnswer[] = [];
  for (const host of round.hosts) {
    const given = round.answers.get(host.peer);
    const row = given === undefined ? create(BidAnswerSchema, { kind: "silent", reason: "no answer" }) : toRow(given.answer);
    // The code stands before the reason on the wire only; here the kind's column says what it is.
    if (given?.answer.kind === "refused") row.reason = given.answer.reason;
    rows.push(Object.assign(row, { host: host.peer, name: host.name, zone: host.zone, chosen: host.peer === chosen }));
  }
  for (const { peer, name, zone } of unreachable) {
    rows.push(create(BidAnswerSchema, { kind: "silent", reason: "unreachable, so it was not asked", host: peer, name, zone }));
  }
  return rows;
}

/** `k1: 512 MiB of memory asked, 100 MiB free; k2: no answer`: host by host, in one line. */
export function explainRefusal(rows: readonly BidAnswer[]): string {
  const parts = rows.slice(0, HOSTS_IN_MESSAGE_MAX).map((row) => `${row.name === "" ? row.host : row.name}: ${row.reason === "" ? row.kind : row.reason}`);
  if (rows.length > HOSTS_IN_MESSAGE_MAX) parts.push(`and ${rows.length - HOSTS_IN_MESSAGE_MAX} more`);
  return parts.join("; ");
}
