import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildCommandLine } from "../../../cli/build.ts";
import { SETTINGS, type TestPeer } from "./test-peer.ts";

export type Outcome = { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly stdout: string; readonly stderr: string };
export type Running = { readonly child: ChildProcess; readonly done: Promise<Outcome>; readonly output: () => { stdout: string; stderr: string } };

/** The real bundle in a folder of its own, and a home folder for what it keeps. */
export async function installCc(): Promise<{ folder: string; home: string; cc: Cc; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), "cc-cli-"));
  await buildCommandLine(folder, { prime: false });
  const home = join(folder, "home");
  return { folder, home, cc: createCc(folder, home), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export type CcOptions = {
  readonly peers?: readonly (TestPeer | string)[];
  readonly env?: Record<string, string>;
  readonly input?: string | Uint8Array | "keep open";
  readonly stdout?: "ignore";
};
export type Cc = { (words: readonly string[], options?: CcOptions): Promise<Outcome>; start(words: readonly string[], options?: CcOptions): Running };

const TIMEOUT_MS = 60_000;

function createCc(folder: string, home: string): Cc {
  const start = (words: readonly string[], options: CcOptions = {}): Running => {
    const endpoints = (options.peers ?? []).map((peer) => (typeof peer === "string" ? peer : peer.url)).join(",");
    const settings =
      options.peers === undefined ? {} : { CC_ENDPOINT_URL: endpoints, CC_ACCESS_TOKEN: SETTINGS.accessToken, CC_SECRET_KEY: SETTINGS.secretKey };
    const child = spawn(process.execPath, ["--use-openssl-ca", "--", join(folder, "cli/start.cjs"), ...words], {
      env: { PATH: process.env["PATH"] ?? "", HOME: home, ...settings, ...options.env },
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.stdin?.on("error", () => undefined);
    if (options.input !== undefined && options.input !== "keep open") child.stdin?.end(options.input);
    const done = new Promise<Outcome>((resolve) => {
      const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
      child.on("close", (code, signal) => {
        clearTimeout(timer);
        resolve({ code, signal, stdout, stderr });
      });
    });
    return { child, done, output: () => ({ stdout, stderr }) };
  };
  return Object.assign((words: readonly string[], options?: CcOptions) => start(words, options).done, { start });
}

/** Waits until `condition` holds; fails after 20 s. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  for (let at = 0; at < 400; at += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never: ${what}`);
}
