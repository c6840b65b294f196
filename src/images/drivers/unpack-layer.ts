import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, chown, link, lstat, mkdir, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { pipeline, type Readable, Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import { CcError } from "../../base/index.ts";
import { errorCode, type StreamingCommandRunner, type UserNamespacePin } from "../../host/index.ts";
import { printable } from "../printable.ts";
import type { LayerPlan } from "../pull-plan.ts";
import { planWhiteouts } from "../whiteouts.ts";

export type UnpackTask = {
  readonly layer: LayerPlan;
  /** The compressed blob, whole. */
  readonly blobFile: string;
  /** Made; holds the layer's root afterwards. Beside it are put `FOLDER.list` and the like, for a moment. */
  readonly folder: string;
  readonly pin: UserNamespacePin;
  readonly commands: StreamingCommandRunner;
  readonly signal: AbortSignal;
};

const UNPACK_MS_MAX = 3_600_000;
/** Large, because each chunk is a turn of the event loop, which other work of the peer waits for too. */
const CHUNK_BYTES = 512 * 1024;
const WHITEOUT_LIST_BYTES_MAX = 64 * 1024 * 1024;
/** Extended attributes and owners as they stand in the archive, nothing below /dev: device nodes cannot be made in a user namespace, and a container has a /dev of its own. Without --anchored every folder called dev would lose its content. */
const TAR = [
  "tar",
  "-x",
  "-f",
  "-",
  "-B",
  "-b",
  "512",
  "-p",
  "--numeric-owner",
  "--same-owner",
  "--delay-directory-restore",
  "--xattrs",
  "--xattrs-include=*",
  "--anchored",
  "--exclude=dev/*",
  "--exclude=./dev/*",
  "--exclude=/dev/*",
];

/**
 * Unpacks one layer inside the user namespace of the containers, where a hostile archive can neither make devices nor
 * touch what is not its own, and turns its whiteouts into those of overlayfs. Gives the bytes of the uncompressed
 * archive. Throws CcError IMAGE_PULL_FAILED (damaged, or not what its digest says) or NO_ROOM.
 */
export async function unpackLayer(task: UnpackTask): Promise<number> {
  const { folder, pin, commands, signal } = task;
  await mkdir(folder);
  await chmod(folder, 0o755);
  await chown(folder, pin.uidMap.hostId, pin.gidMap.hostId);

  const hash = createHash("sha256");
  const marks = new MarkSearch(".wh.");
  let bytes = 0;
  const meter = new Transform({
    readableHighWaterMark: CHUNK_BYTES,
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      hash.update(chunk);
      marks.push(chunk);
      done(null, chunk);
    },
  });
  const archive = await openArchive(task);
  // Errors arrive at the meter, which is what tar is fed from.
  if (archive.length === 1) pipeline(archive[0], meter, () => undefined);
  else pipeline(archive[0], archive[1], meter, () => undefined);

  const inside = ["nsenter", `--user=${pin.path}`, "-S", "0", "-G", "0"];
  const outcome = await commands.feed([...inside, ...TAR], meter, { cwd: folder, timeoutMs: UNPACK_MS_MAX, signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    if (error instanceof CcError) throw error;
    throw new CcError("IMAGE_PULL_FAILED", "a layer of the image is damaged; pull it again", { cause: error });
  });
  checkTar(outcome.exitCode, outcome.stderr);
  if (`sha256:${hash.digest("hex")}` !== task.layer.diffId)
    throw new CcError("IMAGE_PULL_FAILED", `a layer of the image is not what its configuration says (${task.layer.diffId}); build and push the image again`);
  // Most layers have none, and walking through all their files takes longer than this.
  if (marks.found) await applyWhiteouts(task);
  return bytes;
}

/** Whether some bytes occur anywhere in a stream of chunks. */
class MarkSearch {
  readonly #mark: Buffer;
  #tail: Buffer = Buffer.alloc(0);
  found = false;

  constructor(mark: string) {
    this.#mark = Buffer.from(mark);
  }

  push(chunk: Buffer): void {
    if (this.found) return;
    const keep = this.#mark.length - 1;
    this.found = chunk.includes(this.#mark) || Buffer.concat([this.#tail, chunk.subarray(0, keep)]).includes(this.#mark);
    this.#tail = Buffer.concat([this.#tail, chunk.subarray(-keep)]).subarray(-keep);
  }
}

/** The first bytes say how a layer is compressed; media types lie often enough. */
async function openArchive(task: UnpackTask): Promise<readonly [Readable] | readonly [Readable, ReturnType<typeof createGunzip>]> {
  const file = await open(task.blobFile);
  const head = Buffer.alloc(4);
  await file.read(head, 0, head.length, 0).finally(() => file.close());
  const blob = createReadStream(task.blobFile, { highWaterMark: CHUNK_BYTES });
  if (head.readUInt16BE(0) === 0x1f8b) return [blob, createGunzip({ chunkSize: CHUNK_BYTES })];
  // The program, not node:zlib: that one stops after the first frame, and layers have many.
  if (head.readUInt32BE(0) === 0x28b52ffd) return [task.commands.filter(["zstd", "-d", "-c", "-q"], blob)];
  return [blob];
}

function checkTar(exitCode: number, stderr: string): void {
  if (exitCode === 0) return;
  const complaints = stderr.split("\n").filter((line) => line !== "" && !line.includes("Exiting with failure status"));
  if (complaints.some((line) => /No space left on device|Wrote only \d+ of/.test(line)))
    throw new CcError("NO_ROOM", "the disk of this host is full; free some room, or choose another host");
  // Devices outside /dev: nobody could open them in a container anyway.
  const serious = complaints.filter((line) => !/Cannot mknod: Operation not permitted$/.test(line));
  if (complaints.length > 0 && serious.length === 0) return;
  const first = serious[0] ?? `tar ended with ${exitCode}`;
  const hint = first.includes("Cannot change ownership") ? "; its user ids are beyond those that containers have here" : "";
  throw new CcError("IMAGE_PULL_FAILED", `a layer of the image cannot be unpacked: ${printable(first)}${hint}`);
}

/**
 * Runs as root outside the namespace, since trusted.* attributes can only be set there. Safe: `find` does not follow
 * links, so every path that it gives leads through real folders of this layer, and nobody changes them meanwhile.
 */
async function applyWhiteouts(task: UnpackTask): Promise<void> {
  const { folder, commands, signal } = task;
  const list = `${folder}.list`;
  await succeed(task, ["sh", "-c", `find . -name '.wh.*' -printf '%P\\0' > "$1"`, "sh", list]);
  if ((await stat(list)).size > WHITEOUT_LIST_BYTES_MAX) throw new CcError("IMAGE_PULL_FAILED", "a layer of the image deletes more files than can be");
  const steps = planWhiteouts(await readFile(list));
  await rm(list);
  if (steps.length === 0) return;

  const at = (path: Buffer): Buffer => Buffer.concat([Buffer.from(`${folder}/`), path]);
  const opaque: Buffer[] = [];
  const device = `${folder}.wh`;
  await succeed(task, ["mknod", "-m", "0", device, "c", "0", "0"]);
  for (const step of steps) {
    signal.throwIfAborted();
    await rm(at(step.marker), { recursive: true, force: true });
    if (step.step === "opaque") opaque.push(step.folder);
    if (step.step !== "hide") continue;
    const same = await lstat(at(step.hides)).catch(absent);
    if (same === undefined) await linkDevice(task, device, at(step.hides));
    else if (same.isDirectory()) opaque.push(step.hides);
  }
  await rm(device, { force: true });
  if (opaque.length === 0) return;
  const opaqueList = `${folder}.opaque`;
  await writeFile(opaqueList, Buffer.concat(opaque.flatMap((path) => [Buffer.from("./"), path, Buffer.from([0])])));
  await succeed(task, ["xargs", "-0", "-a", opaqueList, "setfattr", "-h", "-n", "trusted.overlay.opaque", "-v", "y"]);
  await rm(opaqueList);

  async function succeed({ folder: cwd }: UnpackTask, argv: readonly string[]): Promise<void> {
    const outcome = await commands.run(argv, { cwd, signal, timeoutMs: UNPACK_MS_MAX });
    if (outcome.exitCode === 0) return;
    if (outcome.stderr.includes("No space left")) throw new CcError("NO_ROOM", "the disk of this host is full; free some room, or choose another host");
    throw new CcError("INTERNAL", `the whiteouts of a layer cannot be made: ${printable(outcome.stderr)}`);
  }

  /** All whiteouts of a layer are one inode, as the kernel's own are, until the file system's limit of links. */
  async function linkDevice(of: UnpackTask, from: string, to: Buffer): Promise<void> {
    try {
      await link(from, to);
    } catch (error) {
      if (errorCode(error) !== "EMLINK") throw error;
      await rm(from);
      await succeed(of, ["mknod", "-m", "0", from, "c", "0", "0"]);
      await link(from, to);
    }
  }
}

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}
