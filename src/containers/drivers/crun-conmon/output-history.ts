import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from "node:fs";
import { link, mkdir, open, rename, rm, stat, writeFile } from "node:fs/promises";
import type { ShellHelper } from "../../../base/index.ts";
import { CcError, shellQuote } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import { continuesSegment, endOf, type HistoryLimits, planOldest, type Segment, segmentBase, segmentName } from "../../log-history.ts";
import type { Bell } from "./exit-watch.ts";

const CURRENT = "current";
const TRIMMED = "trimmed";
/** Holes are cut in whole pages. */
const PAGE_BYTES = 4096;
/** A second name of `current` while it is being looked at. */
const HELD = "held";
/** Where the first whole line after a cut is looked for; conmon's lines are shorter. */
const LINE_LOOK_BYTES = 64 * 1024;

type Found = Segment & { readonly inode: bigint };

/**
 * The log folder of one container. conmon writes `current`; each file that `current` ever was is also linked under the
 * position of its first byte, so conmon's own rotation (a new file renamed over `current`) loses nothing that we have
 * seen. The front is cut away with holes: positions stay, the disk is given back.
 */
export class OutputHistory {
  readonly #folder: string;
  readonly #limits: HistoryLimits;
  readonly #shell: ShellHelper;
  #oldest = 0;
  #oldestRead = false;
  #busy: Promise<unknown> = Promise.resolve();
  #watcher: FSWatcher | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(folder: string, limits: HistoryLimits, shell: ShellHelper) {
    this.#folder = folder;
    this.#limits = limits;
    this.#shell = shell;
  }

  /** Position of the oldest byte that is kept. Read again after every read: what lies below may have become a hole meanwhile. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Makes `current` ready for a new run and gives its path. */
  prepareRun(): Promise<string> {
    return this.#alone(async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const segments = await this.#scan();
      const last = segments.at(-1);
      const current = `${this.#folder}/${CURRENT}`;
      const base = last !== undefined && (last.sizeBytes === 0 || continuesSegment(last, this.#limits)) ? last.base : endOf(segments);
      const file = this.path(base);
      await writeFile(file, "", { flag: "a", mode: 0o600 });
      await rm(`${current}.new`, { force: true });
      await link(file, `${current}.new`);
      await rename(`${current}.new`, current);
      // Of two links to one file rename leaves both: the new name goes by hand.
      await rm(`${current}.new`, { force: true });
      return current;
    });
  }

  /** Segments as they are now, in order; a log that conmon has begun meanwhile is given its name. */
  refresh(): Promise<readonly Segment[]> {
    return this.#alone(() => this.#scan());
  }

  /** Cuts the oldest part away where the history has grown over its limits. */
  trim(): Promise<void> {
    return this.#alone(async () => {
      const segments = await this.#scan();
      const planned = planOldest(endOf(segments), this.#oldest, this.#limits);
      if (planned > this.#oldest) await this.#cut(segments, planned);
    });
  }

  path(base: number): string {
    return `${this.#folder}/${segmentName(base)}`;
  }

  /**
   * Rings once when something in the folder changes after this call. Armed by a watch that is closed again with the
   * first change: a chatty container costs nothing but the looks that somebody wants to take.
   */
  arm(): Bell {
    let ring: () => void = () => undefined;
    const rung = new Promise<void>((resolve) => {
      ring = resolve;
    });
    this.#waiting.add(ring);
    if (this.#watcher === undefined) {
      try {
        this.#watcher = watch(this.#folder, { persistent: false }, () => this.ring());
        this.#watcher.on("error", () => this.ring());
      } catch (error) {
        // Removed meanwhile: whoever waits looks, and finds it gone.
        if (errorCode(error) !== "ENOENT") throw error;
        this.ring();
      }
    }
    return {
      rung,
      cancel: () => {
        this.#waiting.delete(ring);
        if (this.#waiting.size === 0) this.#closeWatcher();
      },
    };
  }

  /** Wakes everyone who waits: for an end that leaves no change in the folder. */
  ring(): void {
    this.#closeWatcher();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const ring of waiting) ring();
  }

  #closeWatcher(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#busy.then(work, work);
    this.#busy = mine.catch(() => undefined);
    return mine;
  }

  /** Looks at names and sizes only: done sooner than handed to another thread, and several readers look after each output. */
  async #scan(): Promise<readonly Segment[]> {
    if (!this.#oldestRead) {
      const text = orAbsent(() => readFileSync(`${this.#folder}/${TRIMMED}`, "utf8"));
      this.#oldest = /^\d+$/.test(text ?? "") ? Number(text) : 0;
      this.#oldestRead = true;
    }
    const names = orAbsent(() => readdirSync(this.#folder)) ?? [];
    const segments: Found[] = [];
    for (const name of names.toSorted()) {
      const base = segmentBase(name);
      const found = base === undefined ? undefined : statSync(`${this.#folder}/${name}`, { bigint: true, throwIfNoEntry: false });
      if (base !== undefined && found !== undefined) segments.push({ base, sizeBytes: Number(found.size), inode: found.ino });
    }
    if (!names.includes(CURRENT)) return segments;
    return (await this.#linkCurrent(segments)) ?? segments;
  }

  /** Linked under another name first, which holds whatever `current` is at that moment, then looked at. */
  async #linkCurrent(segments: readonly Found[]): Promise<readonly Found[] | undefined> {
    const current = `${this.#folder}/${CURRENT}`;
    const isKnown = (inode: bigint): boolean => segments.some((segment) => segment.inode === inode);
    const seen = statSync(current, { bigint: true, throwIfNoEntry: false });
    if (seen === undefined || isKnown(seen.ino)) return undefined;
    const held = `${this.#folder}/${HELD}`;
    await rm(held, { force: true });
    await link(current, held);
    const found = await stat(held, { bigint: true });
    if (isKnown(found.ino)) {
      await rm(held);
      return undefined;
    }
    // The file before it is closed: its size is final only now, whatever the listing said.
    const last = segments.at(-1);
    const lastSize = last === undefined ? 0 : (await stat(this.path(last.base))).size;
    const base = last === undefined ? 0 : last.base + lastSize;
    if (last !== undefined && lastSize === 0) await rm(this.path(last.base));
    await rename(held, this.path(base));
    const before = last === undefined || lastSize === 0 ? [] : [{ ...last, sizeBytes: lastSize }];
    return [...segments.slice(0, -1), ...before, { base, sizeBytes: Number(found.size), inode: found.ino }];
  }

  async #cut(segments: readonly Segment[], planned: number): Promise<void> {
    const at = segments.find((segment) => planned < segment.base + segment.sizeBytes);
    if (at === undefined) return;
    const oldest = planned <= at.base ? at.base : at.base + (await lineStart(this.path(at.base), planned - at.base, at.sizeBytes));
    // Written first: a reader may never take a hole for output.
    await writeFile(`${this.#folder}/${TRIMMED}.new`, String(oldest));
    await rename(`${this.#folder}/${TRIMMED}.new`, `${this.#folder}/${TRIMMED}`);
    this.#oldest = oldest;
    for (const segment of segments)
      if (segment.base + segment.sizeBytes <= oldest && segment !== segments.at(-1)) await rm(this.path(segment.base), { force: true });
    const hole = Math.floor((oldest - at.base) / PAGE_BYTES) * PAGE_BYTES;
    if (hole <= 0) return;
    const outcome = await this.#shell.run(`fallocate --punch-hole --offset 0 --length ${hole} ${shellQuote(this.path(at.base))}`);
    // File systems without holes keep whole files until conmon's own rotation; the bound is then that one.
    if (outcome.exitCode !== 0 && !/not supported/i.test(outcome.stdout))
      throw new CcError("INTERNAL", `the log's front cannot be cut away: ${outcome.stdout.trim()}`);
  }
}

/** Offset of the first line that begins at or after `from`; `from` itself where no line ends within reach. */
async function lineStart(path: string, from: number, sizeBytes: number): Promise<number> {
  const file = await open(path, "r");
  try {
    const begin = Math.max(0, from - 1);
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(LINE_LOOK_BYTES), 0, Math.min(LINE_LOOK_BYTES, sizeBytes - begin), begin);
    const newline = buffer.subarray(0, bytesRead).indexOf(0x0a);
    return newline < 0 ? from : begin + newline + 1;
  } finally {
    await file.close();
  }
}

function orAbsent<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
