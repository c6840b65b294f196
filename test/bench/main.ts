/**
 * The bench: the budgets of DESIGN, each measured side by side with what its users know, in one run. Contestants take
 * turns, so that a busy minute of the machine meets all of them, and medians and ratios are what counts; all values are
 * kept in a file for whoever doubts them.
 *
 * Rejected: a benchmark framework (what is measured are whole programs, some hundred milliseconds each), comparing with
 * numbers of another day or of somebody's blog.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { whatIsMissing } from "../../nodes/lab/machine.ts";
import { type BenchOptions, type PartName, parseArguments, USAGE } from "./arguments.ts";
import { BenchLab, TOP } from "./bench-lab.ts";
import { Cleanup } from "./cleanup.ts";
import { machineReport } from "./machine-report.ts";
import { benchExec } from "./parts/exec.ts";
import { benchIdle } from "./parts/idle.ts";
import { benchManyRecords } from "./parts/many-records.ts";
import { benchNetwork } from "./parts/network.ts";
import { benchPlacement } from "./parts/placement.ts";
import { benchPull } from "./parts/pull.ts";
import { benchRun } from "./parts/run.ts";
import { benchRunSteps } from "./parts/run-steps.ts";
import { benchStartup } from "./parts/startup.ts";
import { benchTunnel } from "./parts/tunnel.ts";
import { benchVolume } from "./parts/volume.ts";
import { markdown, type Result } from "./report.ts";
import { installRivals, Rivals } from "./rivals.ts";

const WITH_RIVALS: readonly PartName[] = ["run", "exec", "pull"];
/** A pull, or a turn of all tunnels, takes seconds: fewer turns say as much. */
const SLOW_RUNS_MAX = 5;

const say = (line: string): void => console.error(`bench: ${line}`);

async function bench(options: BenchOptions, cleanup: Cleanup, signal: AbortSignal): Promise<void> {
  const withRivals = options.parts.some((part) => WITH_RIVALS.includes(part));
  if (withRivals) installRivals(say);
  const machine = machineReport(withRivals);
  console.log(`${machine.map(([name, value]) => `- ${name}: ${value}`).join("\n")}\n`);
  const results: Result[] = [];
  const add = (result: Result): void => {
    results.push(result);
    console.log(markdown(result));
  };
  say("starting a lab of three hosts");
  const lab = new BenchLab(signal);
  await lab.up(cleanup);
  const rivals = new Rivals(lab.layout, signal);
  // The idle peer first: nothing has been asked of it yet, and no rival runs.
  const ordered = [...options.parts].sort((a, b) => Number(b === "idle") - Number(a === "idle") || Number(a === "ps1000") - Number(b === "ps1000"));
  let rivalsRun = false;
  for (const part of ordered) {
    say(`measuring ${part}`);
    if (WITH_RIVALS.includes(part) && !rivalsRun) {
      await rivals.start(cleanup);
      rivalsRun = true;
    }
    for (const result of await measure(part, options, lab, rivals, cleanup, signal)) add(result);
  }
  const load = loadavg().map((value) => value.toFixed(1));
  console.log(`- load after: ${load.join(", ")}`);
  writeValues(machine, results);
}

async function measure(part: PartName, options: BenchOptions, lab: BenchLab, rivals: Rivals, cleanup: Cleanup, signal: AbortSignal): Promise<Result[]> {
  const { runs } = options;
  switch (part) {
    case "run": {
      const image = await lab.image("bench/hello:1");
      return [await benchRun(lab, rivals, image, runs, signal), await benchRunSteps(lab, image, runs, signal)];
    }
    case "exec":
      return [await benchExec(lab, rivals, await lab.image("bench/hello:1"), runs, signal)];
    case "startup":
      return [await benchStartup(lab, runs, signal)];
    case "placement":
      return [await benchPlacement(lab, await lab.image("bench/hello:1"), options.placements, signal)];
    case "pull":
      return [await benchPull(lab, rivals, Math.min(runs, SLOW_RUNS_MAX), cleanup, signal)];
    case "tunnel":
      return [await benchTunnel(lab, await lab.image("bench/hello:1"), Math.min(runs, SLOW_RUNS_MAX), cleanup, signal)];
    case "volume":
      return [await benchVolume(runs, cleanup, signal)];
    case "network":
      return benchNetwork(lab, await lab.image("bench/hello:1"), runs, cleanup, signal);
    case "idle":
      return [await benchIdle(lab, options.minutes, signal)];
    case "ps1000":
      return [await benchManyRecords(lab, options.records, runs, signal)];
    default:
      return part satisfies never;
  }
}

function writeValues(machine: readonly (readonly [string, string])[], results: readonly Result[]): void {
  const folder = join(TOP, ".cache/bench");
  mkdirSync(folder, { recursive: true });
  const at = new Date().toISOString();
  const file = join(folder, `${at.replaceAll(/[:.]/g, "-")}.json`);
  writeFileSync(file, `${JSON.stringify({ version: 1, at, machine: Object.fromEntries(machine), results }, null, 2)}\n`);
  say(`all values are in ${file.slice(TOP.length + 1)}`);
}

async function main(): Promise<void> {
  let options: BenchOptions | undefined;
  try {
    options = parseArguments(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  if (options === undefined) return console.log(USAGE);
  const missing = whatIsMissing();
  if (missing !== undefined) throw new Error(missing);
  const controller = new AbortController();
  const cleanup = new Cleanup();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) say(`${name}: taking down what was made`);
      controller.abort(new Error(`interrupted by ${name}`));
    });
  }
  try {
    await bench(options, cleanup, controller.signal);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = controller.signal.aborted ? 130 : 1;
  } finally {
    await cleanup.run(say);
  }
}

await main();
