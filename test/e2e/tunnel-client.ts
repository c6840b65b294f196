import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { patternOf } from "./tunnel-pattern.ts";

const SILENT_MS = 30_000;

/** A running `cc local-remote serve`. */
export class LocalPort {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  /** How connections through it broke, for who wonders. */
  faults = "";
  readonly ended: Promise<number | null>;
  #heard: (() => void) | undefined;

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on("data", (data) => {
      this.stdout += String(data);
      this.#heard?.();
    });
    child.stderr?.on("data", (data) => {
      this.stderr += String(data);
      this.#heard?.();
    });
    this.ended = new Promise((resolve) =>
      child.once("close", (code) => {
        resolve(code);
        this.#heard?.();
      }),
    );
  }

  /** Waits for a line; throws with all that was said where it does not come. */
  async until(pattern: RegExp, from: "stdout" | "stderr", limitMs = 30_000): Promise<string> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const found = pattern.exec(this[from]);
      if (found !== null) return found[0];
      const leftMs = deadline - performance.now();
      if (leftMs < 0 || this.child.exitCode !== null)
        throw new Error(`no ${pattern} within ${limitMs} ms (exit ${this.child.exitCode}): ${this.stdout}${this.stderr}`);
      await Promise.race([new Promise<void>((resolve) => (this.#heard = resolve)), new Promise((resolve) => setTimeout(resolve, Math.min(leftMs, 1_000)))]);
    }
  }

  /** Where it listens. */
  async at(): Promise<{ host: string; port: number }> {
    const line = (await this.until(/^.*:\d+$/m, "stdout")).trim();
    const colon = line.lastIndexOf(":");
    return { host: line.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(line.slice(colon + 1)) };
  }

  async interrupt(): Promise<number | null> {
    this.child.kill("SIGINT");
    return this.ended;
  }
}

export async function dial(port: LocalPort): Promise<Socket> {
  const socket = connect({ ...(await port.at()), allowHalfOpen: true, noDelay: true });
  // What hangs is a failure of its own, and not the whole file's.
  socket.setTimeout(SILENT_MS, () => socket.destroy(new Error(`nothing went through a connection for ${SILENT_MS} ms`)));
  socket.on("error", (error) => {
    port.faults += `[${new Date().toISOString()} ${error.message} after ${socket.bytesRead} bytes read, ${socket.bytesWritten} written]\n`;
  });
  // A connection may be reset before it is known to be one: its user sees that.
  await new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
  return socket;
}

/** Says something, ends its half, and gives all that comes back; undefined where the connection was reset. */
export async function ask(port: LocalPort, text: string): Promise<string | undefined> {
  const socket = await dial(port);
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.end(text);
  const failed = socket.destroyed ? socket.errored !== null : await new Promise<boolean>((resolve) => socket.once("close", resolve));
  return failed ? undefined : Buffer.concat(chunks).toString("latin1");
}

/** Sends so many bytes and gives the sum that the program answers with. */
export async function upload(port: LocalPort, bytes: number): Promise<string> {
  const socket = await dial(port);
  let answer = "";
  socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
  const over = once(socket, "close");
  socket.write("up\n");
  for (const block of patternOf(bytes)) if (!socket.write(block) && !socket.destroyed) await Promise.race([once(socket, "drain"), over]);
  socket.end();
  await over;
  return answer;
}

/** The sum of what the program sends. */
export async function download(port: LocalPort, bytes: number): Promise<string> {
  const socket = await dial(port);
  const hash = createHash("sha256");
  socket.on("data", (chunk: Buffer) => hash.update(chunk));
  socket.end(`down ${bytes}\n`);
  await once(socket, "close");
  return hash.digest("hex");
}
