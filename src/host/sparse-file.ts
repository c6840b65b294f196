import { open } from "node:fs/promises";

/** A file of this size that takes no room yet. */
export async function sparseFile(path: string, sizeBytes: number): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
}
