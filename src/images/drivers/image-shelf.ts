import { createHash } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type CommandRunner, type Logger } from "../../base/index.ts";
import { errorCode, type IdMap, makeFolderDurably, removeFileDurably, syncFolder, writeFileDurably } from "../../host/index.ts";
import { decodeImageRecord, decodeReferenceRecord, encodeImageRecord, encodeReferenceRecord, type ImageRecord } from "../image-record.ts";
import type { ImageOnHost } from "../image-store.ts";
import { layerFolder } from "../pull-plan.ts";
import type { Digest } from "../reference.ts";

export type ShelfInit = {
  readonly dataDir: string;
  readonly commands: CommandRunner;
  readonly log: Logger;
  readonly uidMap: IdMap;
  readonly gidMap: IdMap;
};

/** An unpacked layer, ready to be put on the shelf. */
export type UnpackedLayer = { readonly key: Digest; readonly folder: string };

const RECORDS_MAX = 100_000;
const SYNC_MS_MAX = 600_000;
/** Uses within this count as one. */
const USE_NOTED_MS = 600_000;

/**
 * What is kept: `l/SHORT` (layers), `i/HEX.json` (one record an image), `r/HEX.json` (what a reference led to), `t/`
 * (pulls at work, void after a crash). A layer counts only through a record of an image: the record is written after
 * everything that it names has reached the disk. All records are in memory, so that looking an image up costs nothing.
 */
export class ImageShelf {
  readonly #init: ShelfInit;
  readonly #images = new Map<Digest, ImageRecord>();
  readonly #references = new Map<string, Digest>();
  /** Bytes of each unpacked layer, by its key. */
  readonly #layers = new Map<Digest, number>();
  readonly #diffIds = new Map<Digest, Digest>();
  #behind: Promise<void> | undefined;
  /** Wall clock: the time of each record's file, written at most once in a while. */
  readonly #usedMs = new Map<Digest, number>();
  #opened: Promise<void> | undefined;
  /** Commits and sweeps go one after another. */
  #last: Promise<unknown> = Promise.resolve();
  readonly pullsFolder: string;

  constructor(init: ShelfInit) {
    this.#init = init;
    this.pullsFolder = join(init.dataDir, "t");
  }

  /** Reads what is here, once. */
  open(): Promise<void> {
    this.#opened ??= this.#load().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  image(digest: Digest, reference: string): ImageOnHost | undefined {
    const record = this.#images.get(digest);
    if (record === undefined) return undefined;
    return {
      digest,
      reference,
      layers: record.stack.map((key) => this.layerPath(key)),
      config: record.config,
      sizeBytes: record.stack.reduce((sum, key) => sum + this.layerBytes(key), 0),
    };
  }

  /** What the reference led to when it was last pulled. */
  resolve(reference: string): Digest | undefined {
    return this.#references.get(reference);
  }

  hasLayer(key: Digest): boolean {
    return this.#layers.has(key);
  }

  layerBytes(key: Digest): number {
    return this.#layers.get(key) ?? 0;
  }

  /** The uncompressed digest of a compressed layer that was unpacked here before. */
  diffIdOf(blob: Digest): Digest | undefined {
    return this.#diffIds.get(blob);
  }

  list(): readonly ImageOnHost[] {
    const names = new Map<Digest, string>();
    for (const [reference, digest] of [...this.#references].sort(([a], [b]) => (a < b ? -1 : 1))) if (!names.has(digest)) names.set(digest, reference);
    return [...this.#images.keys()].flatMap((digest) => this.image(digest, names.get(digest) ?? digest) ?? []);
  }

  /** Has what was unpacked so far written to the disk, so that little is left to be waited for at the end. */
  writeBehind(): void {
    // That it failed is seen when it counts.
    this.#behind ??= this.#sync()
      .catch(() => undefined)
      .finally(() => {
        this.#behind = undefined;
      });
  }

  /** One syncfs in place of an fsync of each of thousands of files. */
  async #sync(): Promise<void> {
    const synced = await this.#init.commands.run(["sync", "-f", this.#init.dataDir], { timeoutMs: SYNC_MS_MAX });
    if (synced.exitCode !== 0) throw new CcError("INTERNAL", `the layers of an image cannot be written to the disk: ${synced.stderr.trim()}`);
  }

  records(): readonly ImageRecord[] {
    return [...this.#images.values()];
  }

  /** Complete references that lead to an image here. */
  referencesTo(digest: Digest): readonly string[] {
    return [...this.#references].flatMap(([reference, to]) => (to === digest ? [reference] : []));
  }

  lastUsedMs(digest: Digest): number {
    return this.#usedMs.get(digest) ?? 0;
  }

  /** Notes a use; one that is lost in a crash costs nothing but a pull. */
  async use(digest: Digest, nowMs: number): Promise<void> {
    if (!this.#images.has(digest) || Math.abs(nowMs - this.lastUsedMs(digest)) < USE_NOTED_MS) return;
    this.#usedMs.set(digest, nowMs);
    await utimes(this.#recordPath(digest), nowMs / 1_000, nowMs / 1_000).catch(absent);
  }

  /** Forgets an image and what leads to it. Its layers go with the next sweep, if no other image has them. */
  async remove(digest: Digest): Promise<void> {
    await this.#alone(async () => {
      if (!this.#images.has(digest)) return;
      for (const reference of this.referencesTo(digest)) {
        await removeFileDurably(this.#referencePath(reference));
        this.#references.delete(reference);
      }
      await removeFileDurably(this.#recordPath(digest));
      this.#images.delete(digest);
      this.#usedMs.delete(digest);
      this.#recount();
    });
  }

  /** Takes over unpacked layers and says that the image is here. Everything has reached the disk when this resolves. */
  async commit(record: ImageRecord, layers: readonly UnpackedLayer[], reference: string, nowMs: number): Promise<void> {
    await this.#alone(async () => {
      const { dataDir, commands } = this.#init;
      await this.#behind;
      if (layers.length > 0) await this.#sync();
      for (const { key, folder } of layers) {
        if (this.#layers.has(key)) continue;
        // Left by a crash between here and the record: of unknown worth.
        const path = this.layerPath(key);
        if ((await access(path).then(() => true, absent)) !== undefined) await removeTree(commands, path);
        await rename(folder, path);
      }
      await syncFolder(join(dataDir, "l"));
      await writeFileDurably(this.#recordPath(record.digest), encodeImageRecord(record));
      this.#remember(record, nowMs);
      await this.#point(reference, record.digest);
    });
  }

  /** Notes that the reference now leads to an image that is here. */
  async point(reference: string, digest: Digest): Promise<void> {
    if (this.#references.get(reference) !== digest) await this.#alone(() => this.#point(reference, digest));
  }

  /**
   * Removes pulls that no longer run and, while none runs, layers that no image has: a pull may count on one that was an
   * image's when it began. `active` are the names of pulls that run.
   */
  async sweep(active: ReadonlySet<string>): Promise<void> {
    await this.#alone(async () => {
      const { dataDir } = this.#init;
      const kept = new Set([...this.#layers.keys()].map(layerFolder));
      const layers = active.size > 0 ? [] : await readdir(join(dataDir, "l"));
      const orphans = layers.filter((name) => !kept.has(name)).map((name) => join(dataDir, "l", name));
      const pulls = (await readdir(this.pullsFolder)).filter((name) => !active.has(name)).map((name) => join(this.pullsFolder, name));
      for (const path of [...orphans, ...pulls]) await removeTree(this.#init.commands, path);
    });
  }

  async #point(reference: string, digest: Digest): Promise<void> {
    await writeFileDurably(this.#referencePath(reference), encodeReferenceRecord({ reference, digest }));
    this.#references.set(reference, digest);
  }

  #remember(record: ImageRecord, usedMs: number): void {
    this.#images.set(record.digest, record);
    this.#usedMs.set(record.digest, usedMs);
    this.#count(record);
  }

  /** After an image went. */
  #recount(): void {
    const sizes = new Map(this.#layers);
    this.#layers.clear();
    this.#diffIds.clear();
    for (const record of this.#images.values()) {
      for (const key of record.stack) this.#layers.set(key, sizes.get(key) ?? 0);
      this.#count(record);
    }
  }

  #count(record: ImageRecord): void {
    for (const key of record.stack) this.#layers.set(key, this.layerBytes(key));
    for (const { blob, diffId, bytes, key } of record.layers) {
      this.#layers.set(key ?? diffId, bytes);
      this.#diffIds.set(blob, diffId);
    }
  }

  #recordPath(digest: Digest): string {
    return join(this.#init.dataDir, "i", `${hexOf(digest)}.json`);
  }

  #referencePath(reference: string): string {
    return join(this.#init.dataDir, "r", `${createHash("sha256").update(reference).digest("hex")}.json`);
  }

  layerPath(key: Digest): string {
    return join(this.#init.dataDir, "l", layerFolder(key));
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work, work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  async #load(): Promise<void> {
    const { dataDir, log } = this.#init;
    await makeFolderDurably(dataDir);
    for (const name of ["l", "i", "r", "t"]) await mkdir(join(dataDir, name), { recursive: true, mode: 0o700 });
    await this.#checkMapping();
    for (const file of await this.#files("i")) {
      const record = decodeImageRecord(await readFile(file, "utf8"));
      if (record.ok && (await this.#isWhole(record.value))) this.#remember(record.value, (await stat(file)).mtimeMs);
      else {
        log.warn({ file, reason: record.ok ? "a layer is missing" : record.message }, "image dropped: its record or a layer is damaged");
        await removeFileDurably(file);
      }
    }
    for (const file of await this.#files("r")) {
      const record = decodeReferenceRecord(await readFile(file, "utf8"));
      if (record.ok && this.#images.has(record.value.digest)) this.#references.set(record.value.reference, record.value.digest);
      else await removeFileDurably(file);
    }
  }

  async #files(kind: "i" | "r"): Promise<readonly string[]> {
    const folder = join(this.#init.dataDir, kind);
    const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}\.json$/.test(name));
    return names.slice(0, RECORDS_MAX).map((name) => join(folder, name));
  }

  async #isWhole(record: ImageRecord): Promise<boolean> {
    for (const key of record.stack) {
      const there = await access(this.layerPath(key)).then(() => true, absent);
      if (there === undefined) return false;
    }
    return true;
  }

  /** Owners of unpacked files are host ids: layers of another mapping would show wrong owners in containers. */
  async #checkMapping(): Promise<void> {
    const { dataDir, uidMap, gidMap } = this.#init;
    const file = join(dataDir, "mapping.json");
    const wanted = JSON.stringify({ version: 1, uidMap, gidMap });
    const found = await readFile(file, "utf8").catch(absent);
    if (found === undefined) await writeFileDurably(file, wanted);
    else if (found !== wanted)
      throw new CcError(
        "INTERNAL",
        `the images in ${dataDir} were unpacked for another id mapping (${found.slice(0, 200)}) than the configuration says (${wanted}); set it back, or remove that folder`,
      );
  }
}

/** Removes a folder of many files with one program: thousands of calls would keep this process busy. A program that is still dying may add a file meanwhile. */
export async function removeTree(commands: CommandRunner, path: string): Promise<void> {
  const TRIES = 3;
  for (let tries = 1; ; tries += 1) {
    const outcome = await commands.run(["rm", "-rf", "--one-file-system", path], { timeoutMs: SYNC_MS_MAX });
    if (outcome.exitCode === 0) return;
    if (tries === TRIES) throw new CcError("INTERNAL", `${path} cannot be removed: ${outcome.stderr.trim()}`);
  }
}

const hexOf = (digest: Digest): string => digest.slice("sha256:".length);

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}
