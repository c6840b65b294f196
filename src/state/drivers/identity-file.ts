import { writeFileDurably } from "../../host/index.ts";
import type { IdentityFile } from "../ports.ts";
import { contents, loadFrames, saveFrames } from "./frames-file.ts";

/**
 * Two files: the admin/ records (which `cc-peer init` writes first), and a line of JSON with the
 * store's id and this host's start number. What can't be read counts as not there: neighbours have the records.
 */
export function createIdentityFile(paths: { readonly adminRecords: string; readonly storeMark: string }): IdentityFile {
  return {
    load: async () => {
      const frames = await loadFrames(paths.adminRecords);
      const mark = markIn(await contents(paths.storeMark));
      return frames === undefined && mark === undefined
        ? undefined
        : { adminFrames: frames ?? [], storeId: mark?.storeId, startNumber: mark?.startNumber ?? 0 };
    },
    save: async ({ adminFrames, storeId, startNumber }) => {
      await saveFrames(paths.adminRecords, adminFrames);
      await writeFileDurably(paths.storeMark, `${JSON.stringify({ storeId, startNumber })}\n`);
    },
  };
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
