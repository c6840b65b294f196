import { createHash } from "node:crypto";
import { closeSync, existsSync, fstatSync, openSync, readSync, rmSync } from "node:fs";
import { chmod, chown, link, mkdir, rm, writeFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { CcError } from "../../base/index.ts";
import { errorCode, type StreamingCommandRunner } from "../../host/index.ts";
import { type Admitted, type LayerFindings, LayerGate, type LayerLimits, type LayerNeeds } from "../layer-gate.ts";
import { printable } from "../printable.ts";
import { ARCHIVE_END } from "../tar-writer.ts";
import { openPipe, type Pipe, readSome, startProgram, writeAll } from "./blocking-pipe.ts";

export type UnpackTask = {
  /** The compressed blob, whole. */
  readonly blobFile: string;
  /** As the manifest says it. */
  readonly blobBytes: number;
  readonly diffId: string;
  /** Made; holds the layer's root afterwards. Beside it are put `FOLDER.wh` and the like, for a moment. */
  readonly folder: string;
  /** The ns file of the containers' user namespace, in the peer's run folder, and what its root is on the host. */
  readonly userns: string;
  readonly rootUid: number;
  readonly rootGid: number;
  readonly limits: LayerLimits;
};

export type UnpackResult = { readonly bytes: number; readonly entries: number; readonly needs?: LayerNeeds | undefined };

const COMMAND_MS_MAX = 600_000;
/** What a pipe holds is read at once. */
const CHUNK_BYTES = 256 * 1024;
/** Written at once; the kernel takes as many. */
const PIECES_MAX = 1_024;
const ERRORS_BYTES_MAX = 16 * 1024;
/** Owners, modes, times and attributes as they stand in what the gate writes. */
export const TAR: readonly string[] = [
  "tar",
  "-x",
  "-f",
  "-",
  "-B",
  "-b",
  "512",
  "-p",
  "-P",
  "--numeric-owner",
  "--same-owner",
  "--xattrs",
  "--xattrs-include=*",
];

/** Argv that runs a program as root of the containers' user namespace. */
export const insideOf = (userns: string): readonly string[] => ["nsenter", `--user=${userns}`, "-S", "0", "-G", "0"];

/**
 * Unpacks one layer: the archive goes through the gate, which writes it anew, to tar inside the user namespace of the
 * containers, where even a mistake of ours could touch nothing of the host's. Whiteouts become those of overlayfs.
 * Keeps the process busy until it is done. Throws CcError IMAGE_PULL_FAILED (damaged, hostile, too large, or not what its
 * digest says) or NO_ROOM.
 */
export async function unpackLayer(task: UnpackTask, commands: StreamingCommandRunner): Promise<UnpackResult> {
  const { folder, diffId } = task;
  await mkdir(folder);
  await chmod(folder, 0o755);
  await chown(folder, task.rootUid, task.rootGid);
  const { findings, digest } = await pumpLayer(task, commands);
  if (digest !== diffId)
    throw new CcError("IMAGE_PULL_FAILED", `a layer of the image is not what its configuration says (${diffId}); build and push the image again`);
  await applyWhiteouts(task, findings, commands);
  return { bytes: findings.bytes, entries: findings.entries, needs: findings.needs };
}

/** From the blob through the gate to tar. */
async function pumpLayer(task: UnpackTask, commands: StreamingCommandRunner): Promise<{ readonly findings: LayerFindings; readonly digest: string }> {
  const archive = await openArchive(task, commands);
  const tar = new TarWriter(task, commands);
  try {
    const gate = new LayerGate(task.limits);
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let bytes = readSome(archive.fd, buffer); bytes > 0; bytes = readSome(archive.fd, buffer)) {
      const chunk = buffer.subarray(0, bytes);
      hash.update(chunk);
      await tar.write(gate.push(chunk));
    }
    await archive.ended();
    const { rest, findings } = gate.end();
    await tar.write(rest);
    await tar.end();
    return { findings, digest: `sha256:${hash.digest("hex")}` };
  } finally {
    archive.close();
    await tar.close();
  }
}

/** tar at work on a folder, once more after each folder that something takes the place of. */
class TarWriter {
  readonly #task: UnpackTask;
  readonly #commands: StreamingCommandRunner;
  #running: { readonly input: number; readonly errors: number; readonly ended: Promise<number> } | undefined;

  constructor(task: UnpackTask, commands: StreamingCommandRunner) {
    this.#task = task;
    this.#commands = commands;
  }

  async write(pieces: Iterable<Admitted>): Promise<void> {
    let buffers: Buffer[] = [];
    for (const piece of pieces) {
      if (!("remove" in piece)) {
        buffers.push(piece);
        if (buffers.length < PIECES_MAX) continue;
        await this.#send(buffers);
        buffers = [];
        continue;
      }
      await this.#send([...buffers, ARCHIVE_END]);
      buffers = [];
      await this.end();
      // No link is in the layer yet: this leads nowhere else.
      await rm(bytesBelow(this.#task.folder, piece.remove), { recursive: true });
    }
    await this.#send(buffers);
  }

  /** All is written. */
  async end(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    closeSync(running.input);
    const exitCode = await running.ended;
    const stderr = readErrors(running.errors);
    closeSync(running.errors);
    if (exitCode !== 0) throw tarError(stderr, exitCode);
  }

  async close(): Promise<void> {
    // After a failure of something else: what tar makes of the half is of no interest.
    await this.end().catch(() => undefined);
  }

  async #send(buffers: readonly Buffer[]): Promise<void> {
    if (buffers.length === 0) return;
    this.#running ??= await this.#start();
    if (writeAll(this.#running.input, buffers)) return;
    await this.end();
    throw new CcError("INTERNAL", "tar ended before the layer did");
  }

  async #start(): Promise<{ readonly input: number; readonly errors: number; readonly ended: Promise<number> }> {
    const { folder, userns } = this.#task;
    const { read, write } = await makePipe(`${folder}.tar`, this.#commands);
    const errors = openErrors(this.#task);
    const ended = startProgram([...insideOf(userns), ...TAR], { stdin: read, stdout: "ignore", errors, cwd: folder });
    // Awaited when all is written.
    ended.catch(() => undefined);
    closeSync(read);
    return { input: write, errors, ended };
  }
}

/** What is read has to be read to its end, then `ended` says whether that was all. */
type Archive = { readonly fd: number; readonly ended: () => Promise<void>; readonly close: () => void };

/** The first bytes say how a layer is compressed; media types lie often enough. */
async function openArchive(task: UnpackTask, commands: StreamingCommandRunner): Promise<Archive> {
  const fd = openSync(task.blobFile, "r");
  const { size } = fstatSync(fd);
  const head = Buffer.alloc(4);
  readSync(fd, head, 0, head.length, 0);
  // Programs, not node:zlib: half the work of the processor, and that one stops after the first frame of zstd.
  const program = head.readUInt16BE(0) === 0x1f8b ? [gunzipProgram()] : head.readUInt32BE(0) === 0x28b52ffd ? ["zstd", "-q"] : undefined;
  if (size !== task.blobBytes) {
    closeSync(fd);
    throw new CcError("IMAGE_PULL_FAILED", `a layer of the image has ${size} bytes and its manifest says ${task.blobBytes}; build and push the image again`);
  }
  if (program === undefined) return { fd, ended: () => Promise.resolve(), close: () => closeSync(fd) };
  const { read, write } = await makePipe(`${task.folder}.zip`, commands);
  const errors = openErrors(task);
  const ended = startProgram([...program, "-d", "-c"], { stdin: fd, stdout: write, errors, cwd: "/" });
  ended.catch(() => undefined);
  for (const unused of [fd, write, errors]) closeSync(unused);
  return {
    fd: read,
    async ended() {
      if ((await ended) !== 0) throw new CcError("IMAGE_PULL_FAILED", "a layer of the image is damaged; pull it again");
    },
    close: () => closeSync(read),
  };
}

/** Intel's takes less than half of gzip's time, which is most of a pull's; where it is not installed, gzip does. */
function gunzipProgram(): string {
  const IGZIP = "/usr/bin/igzip";
  return existsSync(IGZIP) ? IGZIP : "gzip";
}

async function makePipe(fifo: string, commands: StreamingCommandRunner): Promise<Pipe> {
  await succeed(commands, ["mkfifo", "-m", "600", fifo]);
  return openPipe(fifo);
}

/** A file without a name, so that a program that complains a lot waits for nobody; not on the disk that may be full. */
function openErrors({ userns }: UnpackTask): number {
  const path = `${userns}.${process.pid}`;
  const fd = openSync(path, "w+", 0o600);
  rmSync(path);
  return fd;
}

function readErrors(fd: number): string {
  const buffer = Buffer.alloc(ERRORS_BYTES_MAX);
  return buffer.toString("utf8", 0, readSync(fd, buffer, 0, buffer.length, 0));
}

const diskFull = (): CcError => new CcError("NO_ROOM", "the disk of this host is full; free some room, or choose another host");

export function tarError(stderr: string, exitCode: number): CcError {
  const complaints = stderr.split("\n").filter((line) => line !== "" && !line.includes("Exiting with failure status"));
  if (complaints.some((line) => /No space left on device|Disk quota exceeded|Wrote only \d+ of/.test(line))) return diskFull();
  return new CcError("IMAGE_PULL_FAILED", `a layer of the image cannot be unpacked: ${printable(complaints[0] ?? `tar ended with ${exitCode}`)}`);
}

/**
 * Runs as root outside the namespace, since trusted.* attributes can only be set there. The gate gives only paths that
 * lead through real folders of this layer, and nobody changes them meanwhile.
 */
async function applyWhiteouts(task: UnpackTask, findings: LayerFindings, commands: StreamingCommandRunner): Promise<void> {
  const { folder } = task;
  if (findings.whiteouts.length > 0) await makeWhiteouts(folder, findings.whiteouts, commands);
  if (findings.opaque.length > 0) await makeOpaque(folder, findings.opaque, commands);
  if (findings.touched.length === 0) return;
  const outcome = await commands.feed([...insideOf(task.userns), ...TAR], Readable.from([findings.touched], { objectMode: false }), {
    cwd: folder,
    timeoutMs: COMMAND_MS_MAX,
  });
  if (outcome.exitCode !== 0) throw tarError(outcome.stderr, outcome.exitCode);
}

/** `paths` are bytes as latin1 text. All whiteouts of a layer are one inode, as the kernel's own are, until the file system's limit of links. */
export async function makeWhiteouts(folder: string, paths: readonly string[], commands: StreamingCommandRunner): Promise<void> {
  const device = `${folder}.wh`;
  const make = (): Promise<void> => succeed(commands, ["mknod", "-m", "0", device, "c", "0", "0"]);
  await make();
  for (const path of paths) {
    const at = bytesBelow(folder, path);
    await link(device, at).catch(async (error: unknown) => {
      if (errorCode(error) !== "EMLINK") throw error;
      await rm(device);
      await make();
      await link(device, at);
    });
  }
  await rm(device);
}

export async function makeOpaque(folder: string, paths: readonly string[], commands: StreamingCommandRunner): Promise<void> {
  const list = `${folder}.opaque`;
  await writeFile(list, Buffer.concat(paths.flatMap((path) => [bytesBelow(folder, path), Buffer.from([0])])));
  await succeed(commands, ["xargs", "-0", "-a", list, "setfattr", "-h", "-n", "trusted.overlay.opaque", "-v", "y"]);
  await rm(list);
}

export function bytesBelow(folder: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(path, "latin1")]);
}

async function succeed(commands: StreamingCommandRunner, argv: readonly string[]): Promise<void> {
  const outcome = await commands.run(argv, { timeoutMs: COMMAND_MS_MAX });
  if (outcome.exitCode === 0) return;
  if (outcome.stderr.includes("No space left")) throw diskFull();
  throw new CcError("INTERNAL", `the whiteouts of a layer cannot be made: ${printable(outcome.stderr)}`);
}
