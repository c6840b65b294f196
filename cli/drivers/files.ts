import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Writes a file that holds a secret: 0600 from its first byte, whole or not at all. */
export function writeSecretFile(file: string, text: string): void {
  makeFolder(dirname(file));
  replaceFile(file, text);
}

/** Like `writeSecretFile`, but never over a file that is there. Throws EEXIST. */
export function createSecretFile(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600, flag: "wx" });
  chmodSync(file, 0o600);
}

/** As `mkdir -p -m 700`. Node's own way with `recursive` never ends where a parent can hold no folders (/proc). */
export function makeFolder(path: string, hasParent = false): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || hasParent) throw error;
    makeFolder(dirname(path));
    makeFolder(path, true);
  }
}

/** Whole or not at all, for its owner only. */
export function replaceFile(file: string, text: string): void {
  const temporary = `${file}.${process.pid}`;
  try {
    writeFileSync(temporary, text, { mode: 0o600 });
    chmodSync(temporary, 0o600);
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
