import { spawn } from "node:child_process";
import { closeSync, constants, openSync, readSync, rmSync, writevSync } from "node:fs";
import { CcError } from "../../base/index.ts";
import { errorCode } from "../../host/index.ts";

export type Pipe = { readonly read: number; readonly write: number };

/**
 * A pipe of the kernel whose ends block, at a place where a fifo was made; the fifo is removed. Node's own pipes to a
 * program are read into ever new buffers, which costs more than to decompress what is in them.
 */
export function openPipe(fifo: string): Pipe {
  // The reading end first, which has not to wait for the other; and again in a way that waits for content.
  const first = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const write = openSync(fifo, constants.O_WRONLY);
  const read = openSync(`/proc/self/fd/${first}`, constants.O_RDONLY);
  closeSync(first);
  rmSync(fifo);
  return { read, write };
}

/** A program at a pipe or file; `errors` is an open file. It stays in the process group of this one. */
export function startProgram(
  argv: readonly string[],
  options: { readonly stdin: number; readonly stdout: number | "ignore"; readonly errors: number; readonly cwd: string },
): Promise<number> {
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { cwd: options.cwd, stdio: [options.stdin, options.stdout, options.errors] });
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(new CcError("INTERNAL", `${program} cannot be run on this host (${errorCode(error)}); is it installed? scripts/setup installs what is missing`)),
    );
    child.once("close", (code) => resolve(code ?? 128));
  });
}

/** Bytes read into `buffer`; 0 at the end. */
export function readSome(fd: number, buffer: Buffer): number {
  return readSync(fd, buffer, 0, buffer.length, null);
}

/** False when nobody reads any more. */
export function writeAll(fd: number, pieces: readonly Buffer[]): boolean {
  let rest = pieces;
  try {
    while (rest.length > 0) rest = after(rest, writevSync(fd, rest));
    return true;
  } catch (error) {
    if (errorCode(error) === "EPIPE") return false;
    throw error;
  }
}

function after(pieces: readonly Buffer[], written: number): readonly Buffer[] {
  let bytes = written;
  for (const [at, piece] of pieces.entries()) {
    if (bytes < piece.length) return [piece.subarray(bytes), ...pieces.slice(at + 1)];
    bytes -= piece.length;
  }
  return [];
}
