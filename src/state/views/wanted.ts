import { RemoveRequestSchema, RestartRequestSchema, StartRequestSchema, StopRequestSchema } from "../../api/gen/cc/v1/cloud_pb.ts";
import type { ContainerId, KeyId } from "../../base/index.ts";
import { compareRanked } from "../merge.ts";
import { parseRecordKey } from "../record-key.ts";
import type { StoredRecord, Version } from "../replica.ts";
import { stampedContentOf } from "../stamped-request.ts";
import { decodeBody } from "./bodies.ts";
import { type Judge, judgeUserRecord } from "./standing.ts";

/** What users last asked for. `version` is the stamp that counts: what a phase's wanted_major and wanted_minor answer. */
export type Wanted = {
  readonly kind: "running" | "stopped" | "removed";
  readonly call: "Start" | "Restart" | "Stop" | "Remove";
  /** The client's token. */
  readonly token: string;
  /** Of Start and Restart: a container starts once per run token. */
  readonly runToken: string | undefined;
  /** Milliseconds until a kill; 0: the container's own. */
  readonly timeoutMs: number;
  /** Remove: stop first. */
  readonly force: boolean;
  readonly version: Version;
  readonly keyId: KeyId;
  readonly record: StoredRecord;
};

type Change = Pick<Wanted, "kind" | "call" | "token" | "runToken" | "timeoutMs" | "force"> & { readonly containers: readonly string[] };

/** The latest of the requests that count, of all who stamped one; a removal is final. */
export function deriveWanted(id: ContainerId, records: readonly StoredRecord[], judge: Judge): Wanted | undefined {
  return records
    .flatMap((record) => readWanted(id, record, judge) ?? [])
    .reduce<Wanted | undefined>((best, wanted) => (best === undefined || compareRanked(rank(wanted), rank(best)) > 0 ? wanted : best), undefined);
}

function rank({ record, version }: Wanted): { final: boolean; version: Version; hash: Uint8Array } {
  return { final: record.final, version, hash: record.hash };
}

function readWanted(id: ContainerId, record: StoredRecord, judge: Judge): Wanted | undefined {
  const key = parseRecordKey(record.key);
  const content = stampedContentOf(record);
  if (key?.family !== "user" || key.kind !== "wanted" || key.id !== id || content === undefined) return undefined;
  const user = judgeUserRecord(record, judge);
  if (user.standing !== "counts") return undefined;
  const change = readChange(user.call, content.request.body);
  // The stamping peer chooses the key and whether it is final: both have to be what the user signed.
  if (change === undefined || !change.containers.includes(id) || record.final !== (change.kind === "removed")) return undefined;
  const { containers: _, ...asked } = change;
  return { ...asked, version: judge.stampOf(record), keyId: user.keyId, record };
}

function readChange(call: string, body: Uint8Array): Change | undefined {
  switch (call) {
    case "Stop": {
      const stop = decodeBody(StopRequestSchema, body);
      return stop && { kind: "stopped", call, token: stop.token, runToken: undefined, timeoutMs: stop.timeoutMs, force: false, containers: stop.containers };
    }
    case "Start": {
      const start = decodeBody(StartRequestSchema, body);
      return start && { kind: "running", call, token: start.token, runToken: start.token, timeoutMs: 0, force: false, containers: start.containers };
    }
    case "Restart": {
      const restart = decodeBody(RestartRequestSchema, body);
      return (
        restart && {
          kind: "running",
          call,
          token: restart.token,
          runToken: restart.token,
          timeoutMs: restart.timeoutMs,
          force: false,
          containers: restart.containers,
        }
      );
    }
    case "Remove": {
      const remove = decodeBody(RemoveRequestSchema, body);
      return remove && { kind: "removed", call, token: remove.token, runToken: undefined, timeoutMs: 0, force: remove.force, containers: remove.containers };
    }
    default:
      return undefined;
  }
}
