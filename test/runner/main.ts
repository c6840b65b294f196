/**
 * Runs the test files of the given kinds, each in a process group of its own with a time limit, and ends with
 * `N passed, N failed`. Two at a time where most of them wait, one where they keep two cores busy. Those of one kind that change the machine beside each
 * other look for what they left by its names; whether anything else is left is looked at when all of a kind are done.
 *
 *   node test/runner/main.ts unit simulation host e2e [-- PART-OF-A-FILE-NAME...]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, globSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { readTraces, type Traces } from "../e2e/traces.ts";
import { makeRunFolder, removeRunFolder } from "./run-folder.ts";
import { closingLine, failureExcerpt, judgeFile, summariseTap, type Verdict } from "./tap-summary.ts";

/** `compiles`: many short processes that load the same sources, and nothing that a user starts. */
type Kind = {
  readonly jobs: number;
  readonly limitMs: number;
  readonly compiles?: boolean;
  /** Parts of names of files that run by themselves. Given: the others are told that they share the machine. */
  readonly alone?: readonly string[];
};
const KINDS: Readonly<Record<string, Kind>> = {
  unit: { jobs: 2, limitMs: 180_000, compiles: true },
  simulation: { jobs: 1, limitMs: 900_000, compiles: true },
  // Alone: who measures, and who watches the whole machine.
  host: { jobs: 2, limitMs: 240_000, alone: ["vpc-names/load", "lab/lab.test"] },
  e2e: { jobs: 1, limitMs: 480_000 },
  // Of all kinds, apart, so that `npm test` stays short: those in test/long, and `*.long.test.ts` elsewhere.
  long: { jobs: 1, limitMs: 600_000 },
};
/** A file that is told to end gets this long to take down what it made. */
const GRACE_MS = 45_000;
/** What a test took down may take this long to be gone. */
const TRACES_MS = 10_000;
const EXCERPT_LINES_MAX = 60;

const top = join(import.meta.dirname, "../..");
const logFolder = join(top, ".cache/tests");
/** What Node has compiled of the sources in this run. */
const compiled = join(top, ".cache/compiled");
const running = new Set<ChildProcess>();
let interrupted = false;

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // The group is gone already: what was wanted.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function runFile(file: string, { limitMs, compiles }: Kind, isShared: boolean): Promise<Verdict & { readonly log: string; readonly tookMs: number }> {
  const log = join(logFolder, `${relative(join(top, "test"), file)}.tap`);
  mkdirSync(dirname(log), { recursive: true });
  const output = openSync(log, "w");
  const startedMs = Date.now();
  // tap has a limit of its own, 30 s if nothing is said.
  const env = {
    ...process.env,
    TMPDIR: runFolder,
    TAP_TIMEOUT: String(Math.ceil(limitMs / 1000)),
    ...(compiles === true ? { NODE_COMPILE_CACHE: compiled } : {}),
    ...(isShared ? { CC_TEST_SHARED_MACHINE: "1" } : {}),
  };
  const child = spawn(process.execPath, [file], { cwd: top, detached: true, stdio: ["ignore", output, output], env });
  closeSync(output);
  running.add(child);
  let timedOut = false;
  const limit = setTimeout(() => {
    timedOut = true;
    signalGroup(child, "SIGTERM");
    setTimeout(() => signalGroup(child, "SIGKILL"), GRACE_MS).unref();
  }, limitMs);
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code));
  });
  clearTimeout(limit);
  running.delete(child);
  // What the file left in its group must not disturb the next one.
  signalGroup(child, "SIGKILL");
  return { ...judgeFile({ exitCode, timedOut, summary: summariseTap(readFileSync(log, "utf8")) }), log, tookMs: Date.now() - startedMs };
}

const total = { passed: 0, failed: 0, skipped: 0 };

async function runKind(name: string, kind: Kind, patterns: readonly string[]): Promise<void> {
  const all = [...globSync(join(top, "test", name, "**/*.test.ts")), ...(name === "long" ? globSync(join(top, "test/*/**/*.long.test.ts")) : [])]
    .filter((file) => name === "long" || !file.endsWith(".long.test.ts"))
    .sort();
  const files = all.filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)));
  if (files.length === 0) {
    if (patterns.length > 0) return;
    console.log(`FAILED ${name}: there is no test file in test/${name}`);
    total.failed += 1;
    return;
  }
  const isAlone = (file: string): boolean => kind.alone?.some((part) => relative(top, file).includes(part)) === true;
  const looksForTraces = kind.alone !== undefined && process.env["CC_TEST_SHARED_MACHINE"] !== "1";
  const before = looksForTraces ? readTraces() : undefined;
  const beside = files.filter((file) => !isAlone(file));
  await runFiles(beside, kind, kind.alone !== undefined && beside.length > 1);
  await runFiles(files.filter(isAlone), { ...kind, jobs: 1 }, false);
  if (before === undefined || interrupted) return;
  const left = await leftTraces(before);
  if (left.length === 0) total.passed += 1;
  else {
    console.log(`FAILED ${name}: left on this machine:\n${left.join("\n").replaceAll(/^/gm, "       | ")}`);
    total.failed += 1;
  }
}

async function leftTraces(before: Traces): Promise<readonly string[]> {
  const look = (): string[] => [...readTraces()].filter((trace) => !before.has(trace));
  const startedMs = performance.now();
  for (let left = look(); ; left = look()) {
    if (left.length === 0 || performance.now() - startedMs >= TRACES_MS) return left;
    await pause(200);
  }
}

async function runFiles(files: readonly string[], kind: Kind, isShared: boolean): Promise<void> {
  const queue = [...files];
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined && !interrupted; file = queue.shift()) {
      const result = await runFile(file, kind, isShared);
      total.passed += result.passed;
      total.failed += result.failed;
      total.skipped += result.skipped;
      report(relative(top, file), result);
    }
  };
  await Promise.all(Array.from({ length: kind.jobs }, worker));
}

function report(file: string, result: Verdict & { readonly log: string; readonly tookMs: number }): void {
  const took = `${(result.tookMs / 1000).toFixed(1)} s`;
  const text = readFileSync(result.log, "utf8");
  if (result.problem === undefined) console.log(`ok     ${file}: ${closingLine(result.passed, 0, result.skipped)} (${took})`);
  else {
    console.log(`FAILED ${file}: ${result.problem} (${took}); all of it: ${relative(top, result.log)}`);
    console.log(failureExcerpt(text, EXCERPT_LINES_MAX).replaceAll(/^/gm, "       | "));
  }
  for (const skip of summariseTap(text).skipped) console.log(`       skipped "${skip.name}": ${skip.reason}`);
}

const words = process.argv.slice(2);
const split = words.indexOf("--");
const kinds = split < 0 ? words : words.slice(0, split);
const patterns = split < 0 ? [] : words.slice(split + 1);
const unknown = kinds.find((kind) => KINDS[kind] === undefined);
if (unknown !== undefined || kinds.length === 0) {
  console.error(`usage: scripts/test [${Object.keys(KINDS).join("|")}]... [-- PART-OF-A-FILE-NAME...]`);
  process.exit(2);
}
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (!interrupted) console.log("interrupted: the running files take down what they made");
    interrupted = true;
    for (const child of running) signalGroup(child, "SIGTERM");
    setTimeout(() => {
      for (const child of running) signalGroup(child, "SIGKILL");
    }, GRACE_MS).unref();
  });
}
for (const folder of [logFolder, compiled]) if (existsSync(folder)) rmSync(folder, { recursive: true });
const runFolder = await makeRunFolder();
for (const name of kinds) {
  const kind = KINDS[name];
  if (kind !== undefined && !interrupted) await runKind(name, kind, patterns);
}
await removeRunFolder(runFolder).catch((error: unknown) => {
  console.log(`FAILED: ${runFolder} cannot be removed: ${error}`);
  total.failed += 1;
});
if (total.passed + total.failed === 0) {
  console.log("FAILED: nothing ran");
  total.failed += 1;
}
console.log(closingLine(total.passed, total.failed, total.skipped));
process.exitCode = interrupted ? 130 : total.failed > 0 ? 1 : 0;
