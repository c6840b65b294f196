import { appendFile, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, makeFolderDurably, syncFolder } from "../../host/index.ts";
import type { ActJournal } from "../act-journal.ts";
import type { Act } from "../nonces.ts";

const FILE_MODE = 0o600;
const MINUTE_S = 60;

/**
 * A folder with a file per minute of signed times, one act a line, only ever appended to: forgetting removes whole files.
 * Each line begins with its line break, so that one which a crash cut off spoils no other; it was not acted on.
 */
export class ActJournalFolder implements ActJournal {
  readonly #folder: string;
  /** Files whose names are fsynced. */
  readonly #lasting = new Set<string>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(folder: string): Promise<ActJournalFolder> {
    await makeFolderDurably(folder);
    return new ActJournalFolder(folder);
  }

  async load(): Promise<readonly Act[]> {
    const acts: Act[] = [];
    for (const name of await this.#files()) {
      const text = await readFile(join(this.#folder, name), "utf8");
      for (const line of text.split("\n")) {
        const act = actIn(line);
        if (act !== undefined) acts.push(act);
      }
    }
    return acts;
  }

  async keep({ keyId, nonce, step, id, createdS }: Act, isDurable: boolean): Promise<void> {
    const name = String(Math.floor(createdS / MINUTE_S));
    await appendFile(join(this.#folder, name), `\n${JSON.stringify([keyId, nonce, step, id, createdS])}`, { mode: FILE_MODE, flush: isDurable });
    if (!isDurable || this.#lasting.has(name)) return;
    await syncFolder(this.#folder);
    this.#lasting.add(name);
  }

  async forget(belowS: number): Promise<void> {
    for (const name of await this.#files()) {
      if ((Number(name) + 1) * MINUTE_S > belowS) continue;
      await rm(join(this.#folder, name), { force: true });
      this.#lasting.delete(name);
    }
  }

  async #files(): Promise<readonly string[]> {
    try {
      return (await readdir(this.#folder)).filter((name) => /^\d+$/.test(name));
    } catch (error) {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    }
  }
}

function actIn(line: string): Act | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!Array.isArray(json)) return undefined;
  const [keyId, nonce, step, id, createdS]: unknown[] = json;
  if (typeof keyId !== "string" || typeof nonce !== "string" || typeof step !== "string" || typeof id !== "string") return undefined;
  return typeof createdS === "number" && Number.isSafeInteger(createdS) ? { keyId, nonce, step, id, createdS } : undefined;
}
