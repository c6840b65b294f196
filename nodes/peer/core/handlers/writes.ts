import { create, toBinary } from "@bufbuild/protobuf";
import type { Caller } from "../../../../src/api/index.ts";
import type { Written } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { StampedRequestSchema } from "../../../../src/api/gen/cc/v1/records_pb.ts";
import { CcError, type RecordKey } from "../../../../src/base/index.ts";
import { parseAdminRequest } from "../../../../src/identity/index.ts";
import type { Draft, StoredRecord } from "../../../../src/state/index.ts";
import { must } from "../../founding.ts";
import type { HandlerParts } from "./parts.ts";

export type WrittenInit = Omit<Written, "$typeName" | "$unknown">;

/** The caller's request as a record's content: what it signed, nothing else. */
export function requestDraft(key: RecordKey, caller: Caller, final = false): Draft {
  return { key, final, content: toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: caller.signed })) };
}

/** Stamps and stores an admin's request under the one key that it can be. */
export async function writeAdmin(parts: Pick<HandlerParts, "replica">, caller: Caller, signal: AbortSignal): Promise<{ wrote: WrittenInit[]; copies: number }> {
  const { recordKey } = must(parseAdminRequest(caller.signed));
  const written = await parts.replica.write([requestDraft(recordKey, caller)], { signal });
  return { wrote: written.records.map((record) => toWritten(record)), copies: written.copies };
}

/** For the caller's list of its last writes. */
export function toWritten(record: StoredRecord): WrittenInit {
  return { key: record.key, versionMajor: record.version.major, versionMinor: record.version.minor, host: record.writer };
}

export function mustHaveToken(token: string): void {
  if (!/^[A-Za-z0-9_-]{8,128}$/.test(token)) throw new CcError("BAD_REQUEST", "the token of a change is 8 to 128 letters, digits, - or _");
}
