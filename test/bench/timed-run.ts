import { spawn } from "node:child_process";

export type Command = { readonly argv: readonly string[]; readonly env?: Readonly<Record<string, string>> };

/** Milliseconds from just before the program was started; `firstByteMs` is missing where it printed nothing. */
export type Timed = { readonly startedAtMs: number; readonly firstByteMs: number | undefined; readonly exitMs: number; readonly stdout: string };

const LIMIT_MS = 180_000;
/** Lists of a thousand containers fit. */
const STDOUT_CHARACTERS_MAX = 16 * 1024 ** 2;
/** Enough to see what went wrong. */
const KEPT_CHARACTERS = 4_000;

/** Wall-clock milliseconds with parts, comparable with the times in peers' logs. */
export const wallMs = (): number => performance.timeOrigin + performance.now();

/** Runs a program to its end, which must be a good one; nothing of the caller's own settings but PATH and HOME reaches it. */
export function timedRun(command: Command, signal: AbortSignal): Promise<Timed> {
  const [program = "", ...args] = command.argv;
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", ...command.env };
    const startedAtMs = wallMs();
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"], signal, timeout: LIMIT_MS, killSignal: "SIGKILL" });
    let firstByteMs: number | undefined;
    let exitMs = 0;
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      firstByteMs ??= wallMs() - startedAtMs;
      if (stdout.length < STDOUT_CHARACTERS_MAX) stdout += chunk.toString("utf8");
    });
    child.stderr.on("data", (chunk: Buffer) => {
      if (stderr.length < KEPT_CHARACTERS) stderr += chunk.toString("utf8");
    });
    child.once("error", reject);
    child.once("exit", () => {
      exitMs = wallMs() - startedAtMs;
    });
    child.once("close", (code, killedBy) => {
      if (code === 0) resolve({ startedAtMs, firstByteMs, exitMs, stdout });
      else reject(new Error(`${command.argv.slice(0, 6).join(" ")} ended with ${code ?? killedBy}: ${`${stderr}${stdout}`.trim().slice(-KEPT_CHARACTERS)}`));
    });
  });
}

/** The same for what is only asked for its output. */
export async function outputOf(argv: readonly string[], signal: AbortSignal, env: Readonly<Record<string, string>> = {}): Promise<string> {
  return (await timedRun({ argv, env }, signal)).stdout;
}
