import { fromBinary } from "@bufbuild/protobuf";
import { StampedRequestSchema } from "../api/gen/cc/v1/records_pb.ts";
import { requestHash, type SignedRequest } from "../identity/index.ts";
import { isHostKey } from "./record-key.ts";
import type { StoredRecord } from "./replica.ts";

/** The request that an admin/ or user/ record consists of, and what a peer added when it stamped it. */
export type StampedContent = { readonly request: SignedRequest; readonly extra: Uint8Array; readonly requestId: string };

/** A record object never changes, and lives as long as it is the newest of its entry: so does what was read from it. */
const read = new WeakMap<StoredRecord, StampedContent>();

/** Undefined for host records. */
export function stampedContentOf(record: StoredRecord): StampedContent | undefined {
  if (isHostKey(record.key)) return undefined;
  const known = read.get(record);
  if (known !== undefined) return known;
  const { request, extra } = fromBinary(StampedRequestSchema, record.content);
  if (request === undefined) return undefined;
  const content = { request, extra, requestId: Buffer.from(requestHash(request)).toString("hex") };
  read.set(record, content);
  return content;
}
