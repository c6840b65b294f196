import { type HostFacts, HostFactsSchema } from "../../api/gen/cc/v1/records_pb.ts";
import type { StoredRecord } from "../replica.ts";
import { decodeContent } from "./bodies.ts";

/** Read once per record; undefined for what is none. */
const factsRead = new WeakMap<StoredRecord, HostFacts>();

export function factsIn(record: StoredRecord): HostFacts | undefined {
  const facts = factsRead.get(record) ?? decodeContent(HostFactsSchema, record.content);
  if (facts !== undefined) factsRead.set(record, facts);
  return facts;
}
