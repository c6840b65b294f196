import { create, toBinary } from "@bufbuild/protobuf";
import type { Written } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { StampedRequestSchema } from "../../../../src/api/gen/cc/v1/records_pb.ts";
import type { Caller } from "../../../../src/api/index.ts";
import { CcError, type KeyId, type RecordKey } from "../../../../src/base/index.ts";
import { parseAdminRequest, requestParameters } from "../../../../src/identity/index.ts";
import { type Draft, type StoredRecord, stampedContentOf } from "../../../../src/state/index.ts";
import { must } from "../../must.ts";
import type { HandlerParts } from "./parts.ts";

export type WrittenInit = Omit<Written, "$typeName" | "$unknown">;

/** The caller's request as a record's content: what it signed, and what this peer adds with its stamp (`extra`). */
export function requestDraft(key: RecordKey, caller: Pick<Caller, "signed">, final = false, extra = new Uint8Array()): Draft {
  return { key, final, content: toBinary(StampedRequestSchema, create(StampedRequestSchema, { request: caller.signed, extra })) };
}

/**
 * Stamps and stores an admin's request under the one key that it can be. `afterMs`: what ends a key or a host ends it from
 * its stamp on, and a peer whose clock is behind would end with it what counted before; it refuses with CLOCK_SKEW.
 */
export async function writeAdmin(
  parts: Pick<HandlerParts, "replica">,
  caller: Caller,
  signal: AbortSignal,
  afterMs = Number.NEGATIVE_INFINITY,
): Promise<{ wrote: WrittenInit[]; copies: number }> {
  const { recordKey } = must(parseAdminRequest(caller.signed));
  const draft = requestDraft(recordKey, caller);
  const { major } = (await parts.replica.stamp(draft)).version;
  if (major < afterMs) {
    throw new CcError(
      "CLOCK_SKEW",
      `this peer's clock is ${Math.ceil((afterMs - major) / 1_000)} s behind what it would end, and things from before would end with it: ask another peer, or set this host's clock`,
      { details: { timeMs: String(major) } },
    );
  }
  const written = await parts.replica.write([draft], { signal });
  return { wrote: written.records.map((record) => toWritten(record)), copies: written.copies };
}

/** The latest stamp of what this key has signed, as far as known here; milliseconds. */
export function lastSignedMs(replica: HandlerParts["replica"], keyId: KeyId): number {
  return [...replica.list("admin/"), ...replica.list("user/")].reduce((lastMs, record) => {
    const content = stampedContentOf(record);
    const parameters = content === undefined ? undefined : requestParameters(content.request.signatureInput);
    return parameters?.ok === true && parameters.value.keyId === keyId ? Math.max(lastMs, replica.stampOf(record).major) : lastMs;
  }, Number.NEGATIVE_INFINITY);
}

/** For the caller's list of its last writes. */
export function toWritten(record: StoredRecord): WrittenInit {
  return { key: record.key, versionMajor: record.version.major, versionMinor: record.version.minor, host: record.writer };
}

export function mustHaveToken(token: string): void {
  if (!/^[A-Za-z0-9_-]{8,128}$/.test(token)) throw new CcError("BAD_REQUEST", "the token of a change is 8 to 128 letters, digits, - or _");
}
