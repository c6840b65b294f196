import { readFile } from "node:fs/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RecordsSchema } from "../../api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../../api/gen/cc/v1/records_pb.ts";
import { errorCode, writeFileDurably } from "../../host/index.ts";
import type { IdentityFile } from "../ports.ts";

/**
 * Two files: the admin/ records (protobuf cc.v1.Records, which `cc-peer init` writes first), and a line of JSON with the
 * store's id and this host's start number. What can't be read counts as not there: neighbours have the records.
 */
export function createIdentityFile(paths: { readonly adminRecords: string; readonly storeMark: string }): IdentityFile {
  return {
    load: async () => {
      const frames = framesIn(await contents(paths.adminRecords));
      const mark = markIn(await contents(paths.storeMark));
      return frames === undefined && mark === undefined
        ? undefined
        : { adminFrames: frames ?? [], storeId: mark?.storeId, startNumber: mark?.startNumber ?? 0 };
    },
    save: async ({ adminFrames, storeId, startNumber }) => {
      await writeFileDurably(paths.adminRecords, toBinary(RecordsSchema, create(RecordsSchema, { frames: [...adminFrames] })));
      await writeFileDurably(paths.storeMark, `${JSON.stringify({ storeId, startNumber })}\n`);
    },
  };
}

async function contents(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function framesIn(bytes: Uint8Array | undefined): readonly RecordFrame[] | undefined {
  try {
    return bytes === undefined ? undefined : fromBinary(RecordsSchema, bytes).frames;
  } catch {
    return undefined; // Damaged: as if it were not there.
  }
}

function markIn(bytes: Uint8Array | undefined): { readonly storeId: string; readonly startNumber: number } | undefined {
  try {
    const mark: unknown = bytes === undefined ? undefined : JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (typeof mark !== "object" || mark === null || !("storeId" in mark) || !("startNumber" in mark)) return undefined;
    const { storeId, startNumber } = mark;
    return typeof storeId === "string" && typeof startNumber === "number" && Number.isSafeInteger(startNumber) ? { storeId, startNumber } : undefined;
  } catch {
    return undefined; // The same.
  }
}
