import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { CcError, type InviteId, isInviteId, isName, isPeerId } from "../../base/index.ts";
import { makeFolderDurably, syncFolder } from "../../host/index.ts";
import type { InviteLedger, InviteUse } from "../admission.ts";

const FILE_MODE = 0o600;

/**
 * A file of one line of JSON per use, only ever appended to and fsynced. What a power cut left half written at its end was
 * never answered for, and is cut off; a line that is broken anywhere else throws, because an invite whose uses are not known
 * must not admit.
 */
export class InviteLedgerFile implements InviteLedger {
  readonly #file: FileHandle;
  readonly #uses: Map<InviteId, InviteUse[]>;
  #length: number;

  private constructor(file: FileHandle, uses: readonly InviteUse[], length: number) {
    this.#file = file;
    this.#uses = new Map();
    this.#length = length;
    for (const use of uses) this.#add(use);
  }

  static async open(path: string): Promise<InviteLedgerFile> {
    await makeFolderDurably(dirname(path));
    const file = await open(path, "a+", FILE_MODE);
    try {
      await file.chmod(FILE_MODE);
      const text = await file.readFile("utf8");
      const whole = text.slice(0, text.lastIndexOf("\n") + 1);
      const length = Buffer.byteLength(whole);
      const uses = whole
        .split("\n")
        .slice(0, -1)
        .map((line, at) => useIn(line) ?? broken(path, at + 1));
      await file.truncate(length);
      await file.sync();
      await syncFolder(dirname(path));
      return new InviteLedgerFile(file, uses, length);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  usesOf(inviteId: InviteId): readonly InviteUse[] {
    return this.#uses.get(inviteId) ?? [];
  }

  async record(use: InviteUse): Promise<void> {
    const { inviteId, peerId, name, useNumber, atMs } = use;
    const line = Buffer.from(`${JSON.stringify({ inviteId, peerId, name, useNumber, atMs })}\n`);
    try {
      await this.#file.appendFile(line);
      await this.#file.datasync();
    } catch (error) {
      // Half a line before the next one would be a broken line in the middle.
      await this.#file.truncate(this.#length);
      throw error;
    }
    this.#length += line.length;
    this.#add(use);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #add(use: InviteUse): void {
    this.#uses.set(use.inviteId, [...(this.#uses.get(use.inviteId) ?? []), use]);
  }
}

function broken(path: string, line: number): never {
  throw new CcError(
    "INTERNAL",
    `line ${line} of ${path} is not the use of an invite; restore the file, or remove it and revoke the keys whose invites are still open`,
  );
}

function useIn(line: string): InviteUse | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return undefined; // Not JSON: the caller says which line.
  }
  if (typeof json !== "object" || json === null) return undefined;
  const fields = new Map<string, unknown>(Object.entries(json));
  const [inviteId, peerId, name, useNumber, atMs] = ["inviteId", "peerId", "name", "useNumber", "atMs"].map((field) => fields.get(field));
  if (typeof inviteId !== "string" || !isInviteId(inviteId) || typeof peerId !== "string" || !isPeerId(peerId)) return undefined;
  if (typeof name !== "string" || (name !== "" && !isName(name)) || !isCount(useNumber) || !isCount(atMs)) return undefined;
  return { inviteId, peerId, name, useNumber, atMs };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}
