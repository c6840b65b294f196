import { createHash } from "node:crypto";
import { renameSync } from "node:fs";
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { base32, CcError, type Clock, type Random } from "../../base/index.ts";
import { errorCode, makeFolderDurably, syncFolder } from "../../host/index.ts";
import type { BlobStore, BlobWanted, ReceiveOptions } from "../blob-store.ts";
import { MANIFEST_BYTES_MAX } from "../manifest.ts";
import { type Digest, isDigest } from "../reference.ts";

export type BlobShelfInit = {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly freeBytes: () => Promise<number>;
  readonly freeBytesMin: number;
};

type Kept = { readonly bytes: number; sinceMs: number };

const READ_BYTES = 256 * 1024;

/**
 * Blobs by digest: `b/HEX` those that are whole, `u/` those on their way, void after a crash. A blob is renamed into place
 * after it has reached the disk and its hash was found right, so what lies in `b` is what its name says. Its file's time
 * is when it was last counted on.
 */
export class BlobShelf implements BlobStore {
  readonly #init: BlobShelfInit;
  readonly #kept = new Map<Digest, Kept>();
  readonly #arriving = new Map<string, number>();
  #opened: Promise<void> | undefined;

  constructor(init: BlobShelfInit) {
    this.#init = init;
  }

  open(): Promise<void> {
    this.#opened ??= this.#load().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async have(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, number>> {
    await this.open();
    return new Map(
      digests.flatMap((digest) => {
        const kept = this.#kept.get(digest);
        return kept === undefined ? [] : [[digest, kept.bytes]];
      }),
    );
  }

  async text(digest: Digest): Promise<string | undefined> {
    await this.open();
    const kept = this.#kept.get(digest);
    if (kept === undefined || kept.bytes > MANIFEST_BYTES_MAX) return undefined;
    return readFile(this.#path(digest), "utf8").catch(absent);
  }

  async *read(digest: Digest): AsyncGenerator<Uint8Array> {
    await this.open();
    if (!this.#kept.has(digest)) throw new CcError("NOT_FOUND", `there is no blob ${digest} here`);
    const file = await open(this.#path(digest)).catch(absent);
    if (file === undefined) throw new CcError("NOT_FOUND", `there is no blob ${digest} here`);
    try {
      for (;;) {
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, null);
        if (bytesRead === 0) return;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  async receive(blob: BlobWanted, chunks: AsyncIterable<Uint8Array>, options: ReceiveOptions): Promise<void> {
    await this.open();
    const bytesMax = blob.sizeBytes ?? MANIFEST_BYTES_MAX;
    const { dataDir, random, freeBytes, freeBytesMin } = this.#init;
    if ((await freeBytes()) - bytesMax < freeBytesMin) throw noRoom();
    const path = join(options.folder ?? join(dataDir, "u"), `part-${base32(random.bytes(10))}`);
    this.#arriving.set(path, bytesMax);
    try {
      const file = await open(path, "wx", 0o600);
      let bytes: number;
      try {
        bytes = await write(file, blob, chunks, options.signal);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#place(path, blob.digest, bytes);
    } catch (error) {
      await rm(path, { force: true });
      if (errorCode(error) === "ENOSPC" || errorCode(error) === "EDQUOT") throw noRoom(error);
      throw error;
    } finally {
      this.#arriving.delete(path);
    }
  }

  /** Puts a second name of a blob that is here to where a pull looks for it. False: it is not here. */
  async linkTo(digest: Digest, path: string): Promise<boolean> {
    await this.open();
    if (!this.#kept.has(digest)) return false;
    try {
      await link(this.#path(digest), path);
      return true;
    } catch (error) {
      if (errorCode(error) === "EEXIST") return true;
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    }
  }

  /** Takes over whole and checked blobs (`folder`/HEX) that have reached the disk: those of these digests and sizes. */
  async adopt(folder: string, wanted: readonly { readonly digest: Digest; readonly sizeBytes: number }[]): Promise<void> {
    await this.open();
    let adopted = false;
    for (const { digest, sizeBytes } of wanted) {
      if (this.#kept.has(digest)) continue;
      const path = join(folder, hexOf(digest));
      const found = await stat(path).catch(absent);
      // Of a layer that was unpacked here before lies an empty file in its place.
      if (found === undefined || found.size !== sizeBytes || sizeBytes === 0) continue;
      await rename(path, this.#path(digest));
      this.#kept.set(digest, { bytes: sizeBytes, sinceMs: this.#init.clock.nowMs() });
      adopted = true;
    }
    if (adopted) await syncFolder(join(this.#init.dataDir, "b"));
  }

  /** Bytes and number of what is here but not in `referenced`, with what is on its way. */
  unreferenced(referenced: ReadonlySet<Digest>): { readonly bytes: number; readonly blobs: number } {
    let bytes = 0;
    let blobs = this.#arriving.size;
    for (const size of this.#arriving.values()) bytes += size;
    for (const [digest, kept] of this.#kept) {
      if (referenced.has(digest)) continue;
      bytes += kept.bytes;
      blobs += 1;
    }
    return { bytes, blobs };
  }

  async touch(digests: Iterable<Digest>): Promise<void> {
    await this.open();
    const nowMs = this.#init.clock.nowMs();
    for (const digest of digests) {
      const kept = this.#kept.get(digest);
      if (kept === undefined) continue;
      kept.sinceMs = nowMs;
      await utimes(this.#path(digest), nowMs / 1_000, nowMs / 1_000).catch(absent);
    }
  }

  async remove(digests: readonly Digest[]): Promise<void> {
    await this.open();
    for (const digest of digests) await this.#drop(digest);
  }

  /** Removes what is not in `keep` and was not counted on for `ageMs`. */
  async sweep(keep: ReadonlySet<Digest>, ageMs: number): Promise<void> {
    await this.open();
    const nowMs = this.#init.clock.nowMs();
    for (const [digest, kept] of [...this.#kept]) {
      // A time from a clock that was ahead counts as now, and is set right.
      kept.sinceMs = Math.min(kept.sinceMs, nowMs);
      if (keep.has(digest) || nowMs - kept.sinceMs < ageMs) continue;
      await this.#drop(digest);
    }
  }

  async #drop(digest: Digest): Promise<void> {
    if (!this.#kept.delete(digest)) return;
    const going = join(this.#init.dataDir, "u", `gone-${hexOf(digest)}`);
    // At once, so that the same blob coming in again is not the one that is removed.
    renameSync(this.#path(digest), going);
    await rm(going, { force: true });
  }

  async #place(part: string, digest: Digest, bytes: number): Promise<void> {
    await rename(part, this.#path(digest));
    await syncFolder(join(this.#init.dataDir, "b"));
    this.#kept.set(digest, { bytes, sinceMs: this.#init.clock.nowMs() });
  }

  #path(digest: Digest): string {
    return join(this.#init.dataDir, "b", hexOf(digest));
  }

  async #load(): Promise<void> {
    const { dataDir, clock } = this.#init;
    await makeFolderDurably(dataDir);
    for (const name of ["b", "u"]) await mkdir(join(dataDir, name), { recursive: true, mode: 0o700 });
    for (const name of await readdir(join(dataDir, "u"))) await rm(join(dataDir, "u", name), { recursive: true, force: true });
    const nowMs = clock.nowMs();
    for (const name of await readdir(join(dataDir, "b"))) {
      const digest = `sha256:${name}`;
      if (!isDigest(digest)) continue;
      const { size, mtimeMs } = await stat(join(dataDir, "b", name));
      this.#kept.set(digest, { bytes: size, sinceMs: Math.min(nowMs, mtimeMs) });
    }
  }
}

/** Writes and checks. Gives the bytes. */
async function write(file: FileHandle, blob: BlobWanted, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
  const hash = createHash("sha256");
  const bytesMax = blob.sizeBytes ?? MANIFEST_BYTES_MAX;
  let bytes = 0;
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    bytes += chunk.length;
    if (bytes > bytesMax) throw new CcError("BAD_REQUEST", `the blob ${blob.digest} is larger than the ${bytesMax} bytes that were announced`);
    hash.update(chunk);
    await file.writeFile(chunk);
  }
  signal.throwIfAborted();
  if (blob.sizeBytes !== undefined && bytes !== blob.sizeBytes)
    throw new CcError("BAD_REQUEST", `the blob ${blob.digest} has ${bytes} bytes, ${blob.sizeBytes} were announced`);
  if (`sha256:${hash.digest("hex")}` !== blob.digest)
    throw new CcError("BAD_REQUEST", `the blob ${blob.digest} is damaged: its bytes have another digest; build or save the image again`);
  return bytes;
}

function noRoom(cause?: unknown): CcError {
  return new CcError("NO_ROOM", "the disk of this host is full; free some room, or choose another host", cause === undefined ? {} : { cause });
}

const hexOf = (digest: Digest): string => digest.slice("sha256:".length);

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}
