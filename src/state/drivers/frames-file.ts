import { readFile } from "node:fs/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RecordsSchema } from "../../api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../../api/gen/cc/v1/records_pb.ts";
import { errorCode, writeFileDurably } from "../../host/index.ts";

/** A file of records: protobuf cc.v1.Records. */
export function saveFrames(path: string, frames: readonly RecordFrame[]): Promise<void> {
  return writeFileDurably(path, toBinary(RecordsSchema, create(RecordsSchema, { frames: [...frames] })));
}

/** Undefined where there is none, or one that can't be read. */
export async function loadFrames(path: string): Promise<readonly RecordFrame[] | undefined> {
  const bytes = await contents(path);
  try {
    return bytes === undefined ? undefined : fromBinary(RecordsSchema, bytes).frames;
  } catch {
    return undefined; // Damaged: as if it were not there.
  }
}

export async function contents(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
