import { spawn } from "node:child_process";
import { once } from "node:events";
import { CcError } from "../../../base/index.ts";
import type { ContainerInput } from "../../runtime.ts";

/** One write as conmon takes it. */
const WRITE_BYTES = 8192;
const END_MS = 5_000;

/**
 * Standard input through conmon's attach socket. That is SOCK_SEQPACKET, which Node cannot open: socat carries the
 * bytes, and reads away the output that conmon sends there too (it would stop the container once the socket is full).
 * What waits is bounded by the two pipes; `write` resolves when there is room.
 */
export function openInput(socket: string): ContainerInput {
  const child = spawn("socat", ["-b", String(WRITE_BYTES), "STDIN!!OPEN:/dev/null,wronly", `UNIX-CONNECT:${socket},type=5`], {
    stdio: ["pipe", "ignore", "pipe"],
    cwd: "/",
  });
  let gone: CcError | undefined;
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-500);
  });
  const ended = new Promise<void>((resolve) => {
    const end = (cause?: unknown): void => {
      gone ??= new CcError("NOT_RUNNING", "the container no longer reads its standard input", { cause: cause ?? new Error(said) });
      resolve();
    };
    child.once("error", end);
    child.once("exit", () => end());
  });
  // The container may close its input or end at any time: `gone` tells the next writer.
  child.stdin.on("error", () => undefined);

  return {
    async write(data) {
      if (gone !== undefined) throw gone;
      if (data.length === 0 || child.stdin.write(data)) return;
      await Promise.race([once(child.stdin, "drain"), ended]);
      if (gone !== undefined) throw gone;
    },
    async end() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), END_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}
