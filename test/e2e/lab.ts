import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import t, { type Test } from "tap";
import { writeLayout } from "../../nodes/lab/image.ts";
import type { LabReport } from "../../nodes/lab/lab.ts";
import { layoutOf, TEST_LAB_PREFIX } from "../../nodes/lab/layout.ts";
import { processOf } from "../../nodes/lab/processes.ts";
import { newTraces, readTraces, type Traces } from "./traces.ts";

/** How a command ended. A signal counts as 128 and its number, as in a shell. */
export type Outcome = { readonly code: number; readonly stdout: string; readonly stderr: string };
export type CallOptions = {
  /** Which host's peer is asked. Default 1. */
  readonly host?: number;
  readonly input?: string;
  /** Over the lab's own settings (CC_ENDPOINT_URL and so on). */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
};

const TOP = join(import.meta.dirname, "../..");
const LAB = join(TOP, "nodes/lab/main.ts");
const CALL_MS = 60_000;
const LAB_MS = 180_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/** A lab of this test file's own, and `cc` as its first admin. */
export class TestLab {
  readonly name: string;
  readonly folder: string;
  readonly tag: string;
  #environments = new Map<number, Readonly<Record<string, string>>>();

  constructor(title: string) {
    const self = processOf(process.pid);
    this.name = `${TEST_LAB_PREFIX}${title.slice(0, 12)}-${process.pid}-${self?.startTicks}`;
    const layout = layoutOf(TOP, this.name);
    if (!layout.ok) throw new Error(layout.message);
    this.folder = layout.value.folder;
    this.tag = layout.value.tag;
  }

  /** Runs a command of scripts/lab: `lab.run("kill", "2")`. */
  run(...words: readonly string[]): Promise<Outcome> {
    return execute(process.execPath, [LAB, "--name", this.name, ...words], { timeoutMs: LAB_MS });
  }

  /** The same, but must succeed; gives its standard output. */
  async must(...words: readonly string[]): Promise<string> {
    const outcome = await this.run(...words);
    if (outcome.code !== 0) throw new Error(`scripts/lab ${words.join(" ")} ended with ${outcome.code}: ${outcome.stderr}`);
    return outcome.stdout;
  }

  async status(): Promise<LabReport> {
    return JSON.parse(await this.must("status", "--json"));
  }

  /** The process id of a host's peer, to kill it alone. */
  async peerPid(host: number): Promise<number> {
    const pid = (await this.status()).hosts[host - 1]?.pid;
    if (pid === undefined) throw new Error(`the peer of host ${host} does not run`);
    return pid;
  }

  /** Puts an image into the lab's registry (a busybox one if no source is given) and gives its reference. */
  async image(name = "hello", ...options: readonly string[]): Promise<string> {
    return (await this.must("image", name, ...options)).trim();
  }

  /** The same with an image that takes long to pull: a busybox, and random bytes that no compression makes smaller. */
  async bigImage(name: string, bytes: number): Promise<string> {
    const folder = join(this.folder, "test", name);
    const root = join(folder, "root");
    mkdirSync(join(root, "bin"), { recursive: true });
    copyFileSync("/bin/busybox", join(root, "bin/sleep"));
    writeFileSync(join(root, "ballast"), randomBytes(bytes));
    const made = spawnSync("tar", ["-C", root, "-cf", "-", "."], { maxBuffer: bytes + OUTPUT_BYTES_MAX });
    writeLayout(join(folder, "oci"), made.stdout);
    rmSync(root, { recursive: true });
    return this.image(name, "--from", `oci:${join(folder, "oci")}:latest`);
  }

  /** Runs something on a host: `lab.on(2, "ls", "/run/cc")`. */
  on(host: number, ...argv: readonly string[]): Promise<Outcome> {
    return this.run("exec", String(host), "--", ...argv);
  }

  /** Starts something on a host and leaves it to the caller: it should end when its standard input does. */
  startOn(host: number, ...argv: readonly string[]): ChildProcess {
    return spawn(process.execPath, [LAB, "--name", this.name, "exec", String(host), "--", ...argv], {
      env: baseEnvironment(),
      stdio: ["pipe", "pipe", "inherit"],
    });
  }

  /** Settings for `cc` at a host's peer; what it remembers of its writes goes into the lab's folder. */
  async environment(host = 1): Promise<Readonly<Record<string, string>>> {
    const known = this.#environments.get(host);
    if (known !== undefined) return known;
    const settings = Object.fromEntries(
      [...(await this.must("env", "--host", String(host))).matchAll(/^export (CC_\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [
        name,
        value.replaceAll("'", ""),
      ]),
    );
    const environment = { ...settings, XDG_CONFIG_HOME: join(this.folder, "test/config"), XDG_STATE_HOME: join(this.folder, "test/state") };
    this.#environments.set(host, environment);
    return environment;
  }

  /** Runs `cc` to its end. */
  async cc(words: readonly string[], options: CallOptions = {}): Promise<Outcome> {
    const env = { ...(await this.environment(options.host)), ...options.env };
    return execute(programPath("cc"), words, {
      timeoutMs: options.timeoutMs ?? CALL_MS,
      env,
      ...(options.input === undefined ? {} : { input: options.input }),
    });
  }

  /** Runs another program that talks to a host's peer with the settings of `cc`. */
  async program(program: string, words: readonly string[], env: Readonly<Record<string, string>>, host: number): Promise<Outcome> {
    return execute(program, words, { timeoutMs: CALL_MS, env: { ...(await this.environment(host)), ...env } });
  }

  /** Runs `cc ... --json`, which must succeed, and gives what it printed. */
  async json<T>(words: readonly string[], options: CallOptions = {}): Promise<T> {
    const outcome = await this.cc([...words, "--json"], options);
    if (outcome.code !== 0) throw new Error(`cc ${words.join(" ")} ended with ${outcome.code}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout);
  }

  /** Starts `cc` and leaves it to the caller: for streams, signals and what does not end. */
  async start(words: readonly string[], options: CallOptions = {}): Promise<ChildProcess> {
    return spawn(programPath("cc"), words, {
      env: { ...baseEnvironment(), ...(await this.environment(options.host)), ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
  }

  /** Takes the lab down where nothing can be awaited any more. */
  downAtOnce(): void {
    spawnSync(process.execPath, [LAB, "--name", this.name, "down"], { stdio: "ignore", timeout: 60_000 });
  }
}

/** Where `cc` or `cc-peer` lies that is tested. */
export const programPath = (name: "cc" | "cc-peer"): string => join(process.env["CC_LAB_PROGRAMS"] || join(TOP, "dist/bin"), name);

/** Nothing of the caller's own settings of `cc` reaches a test. */
function baseEnvironment(): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: process.env["HOME"] ?? "/root",
    ...(process.env["CC_LAB_PROGRAMS"] ? { CC_LAB_PROGRAMS: process.env["CC_LAB_PROGRAMS"] } : {}),
  };
}

export function execute(
  program: string,
  words: readonly string[],
  options: { readonly timeoutMs: number; readonly env?: Readonly<Record<string, string>>; readonly input?: string },
): Promise<Outcome> {
  return new Promise((resolve) => {
    const settings = { env: { ...baseEnvironment(), ...options.env }, timeout: options.timeoutMs, maxBuffer: OUTPUT_BYTES_MAX, killSignal: "SIGKILL" } as const;
    const child = execFile(program, words, settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 137;
      const late = error?.killed === true ? `\n(ended by the test after ${options.timeoutMs} ms)` : "";
      resolve({ code, stdout, stderr: `${stderr}${late}` });
    });
    // A program may end before it has read all of its input; its exit code tells.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}

export type LabOptions = { readonly hosts?: number; readonly zones?: string; readonly home?: number; readonly memory?: string; readonly disk?: string };

/**
 * One lab for a test: made before `body`, taken down after it, also when it fails or is interrupted; then nothing of it may
 * be left. `body` gets the test, to which it adds its own subtests.
 */
export function withLab(title: string, options: LabOptions, body: (t: Test, lab: TestLab) => Promise<void>): void {
  const lab = new TestLab(
    basename(process.argv[1] ?? title)
      .replace(/\.test\.ts$/, "")
      .replaceAll(/[^a-z0-9-]/g, "-"),
  );
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.once(signal, () => {
      lab.downAtOnce();
      process.exit(1);
    });
  }
  void t.test(title, async (t) => {
    const before = readTraces();
    try {
      const words = Object.entries({ hosts: 3, ...options }).flatMap(([name, value]) => [`--${name}`, String(value)]);
      await lab.must("up", ...words);
      await body(t, lab);
    } finally {
      await lab.must("down");
    }
    await t.test("nothing of the lab is left", (t) => checkNothingIsLeft(t, lab, before));
  });
}

/**
 * On a machine of its own, nothing at all may be new. Where others are at work (CC_TEST_SHARED_MACHINE=1), what does not name
 * the lab is only said.
 */
async function checkNothingIsLeft(t: Test, lab: TestLab, before: Traces): Promise<void> {
  const look = () => newTraces(before, readTraces(), [lab.folder, lab.name, lab.tag]);
  const shared = process.env["CC_TEST_SHARED_MACHINE"] === "1";
  let left = look();
  // The kernel takes a moment for the last network namespace.
  for (let waitedMs = 0; waitedMs < 3_000 && (left.ours.length > 0 || (!shared && left.others.length > 0)); waitedMs += 100) {
    await pause(100);
    left = look();
  }
  t.same(left.ours, [], "nothing that names the lab");
  if (shared) for (const trace of left.others) t.comment(`new on this machine, perhaps not ours: ${trace}`);
  else t.same(left.others, [], "nothing else that was not there before");
  t.notOk(existsSync(lab.folder), "nor its folder");
}

/** Asks again until `look` gives something, or fails with what was seen last. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined | false>, limitMs = 20_000): Promise<T> {
  const startedMs = performance.now();
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (performance.now() - startedMs > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await pause(100);
  }
}
