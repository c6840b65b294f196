import type { Written } from "../src/api/client-messages.ts";

/** How many writes of one's own are shown to the peers; the contract's bound. */
export const SEEN_MAX = 32;
/** The file is appended to, and rewritten when it has grown to this. */
export const SEEN_FILE_BYTES_MAX = 16 * 1024;
const SEEN_LINE_BYTES_MAX = 1024;

/** One line of the file; what could never be a record's key is not kept. */
export function seenLine(written: Written): string {
  const line = `${JSON.stringify([written.key, written.versionMajor, written.versionMinor, written.host])}\n`;
  return written.key === "" || line.length > SEEN_LINE_BYTES_MAX ? "" : line;
}

/** The last writes, one per key with its newest version, oldest first. Lines torn by a crash are left out. */
export function parseSeen(text: string): Written[] {
  const newest = new Map<string, Written>();
  for (const line of text.split("\n")) {
    const written = parseLine(line);
    if (written === undefined) continue;
    const known = newest.get(written.key);
    if (
      known !== undefined &&
      (known.versionMajor > written.versionMajor || (known.versionMajor === written.versionMajor && known.versionMinor > written.versionMinor))
    )
      continue;
    newest.delete(written.key);
    newest.set(written.key, written);
  }
  return [...newest.values()].slice(-SEEN_MAX);
}

function parseLine(line: string): Written | undefined {
  if (line === "") return undefined;
  try {
    const parts: unknown = JSON.parse(line);
    if (!Array.isArray(parts)) return undefined;
    const [key, versionMajor, versionMinor, host]: unknown[] = parts;
    if (typeof key !== "string" || typeof host !== "string" || typeof versionMajor !== "number" || typeof versionMinor !== "number") return undefined;
    return { key, versionMajor, versionMinor, host };
  } catch {
    // Half a line: the process that wrote it was killed. The write itself is safe with the peers.
    return undefined;
  }
}

/** Of one's writes those that a call about one container needs: a stream's request should fit into its header. */
export function seenAbout(seen: readonly Written[], id: string): Written[] {
  return seen.filter(({ key }) => key.endsWith(`/${id}`));
}
