import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { type BenchLab, PeerLogs, TOP } from "../bench-lab.ts";
import { inside, type Place } from "../network/places.ts";
import type { BenchVpc } from "../network/traffic-report.ts";
import { number, type Result } from "../report.ts";
import { median } from "../statistics.ts";
import { timedRun, wallMs } from "../timed-run.ts";

const ASKER = join(TOP, "test/bench/network/resolve-program.ts");
const TURNS_MAX = 10;
const SETTLE_MS = 300;
const RESOLVED_MS_MAX = 30_000;

/** From a container's start on one host until another host's containers find its name. */
export async function benchNames(lab: BenchLab, vpc: BenchVpc, image: string, asker: Place, runs: number, signal: AbortSignal): Promise<Result> {
  const { hosts } = await lab.status();
  const logs = new PeerLogs(hosts);
  const [program = "", ...args] = inside(asker, process.execPath, ASKER, vpc.gateway);
  const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const values = { started: [] as number[], asked: [] as number[] };
  try {
    for (let turn = 0; turn < Math.min(runs, TURNS_MAX); turn += 1) {
      await pause(SETTLE_MS, undefined, { signal });
      logs.next();
      const name = `named-${turn}`;
      child.stdin.write(`${name}.${vpc.name}.cc.internal\n`);
      const words = ["run", "--detach", "--name", name, "--vpc", vpc.name, "--host", "h1", "--image", image, "--memory", "16m", "--disk", "16m"];
      const askedAtMs = wallMs();
      await timedRun(await lab.cc([...words, "sleep", "100000"]), signal);
      const late = AbortSignal.any([signal, AbortSignal.timeout(RESOLVED_MS_MAX)]);
      const line = await Promise.race([
        lines.next(),
        new Promise<never>((_, reject) => late.addEventListener("abort", () => reject(late.reason), { once: true })),
      ]);
      const resolvedAtMs = Number(String(line.value).split(" ")[1]);
      await pause(SETTLE_MS, undefined, { signal });
      const started = logs.next().find(({ msg }) => msg === "container started");
      if (started === undefined || Number.isNaN(resolvedAtMs)) throw new Error("a container's start left no trace in the peers' logs");
      values.started.push(resolvedAtMs - Date.parse(started.time));
      values.asked.push(resolvedAtMs - askedAtMs);
      await timedRun(await lab.cc(["rm", "--force", name]), signal);
    }
  } finally {
    child.kill("SIGKILL");
  }
  const row = (name: string, of: readonly number[]): readonly string[] => [name, number(median(of)), number(Math.min(...of)), number(Math.max(...of))];
  return {
    part: "network",
    title: `Until a name is found on another host, ${values.started.length} containers (ms)`,
    columns: ["from", "median", "least", "most"],
    rows: [row("the process's start on its host", values.started), row("`cc run` on the command line", values.asked)],
    values: { "from start, ms": values.started, "from cc run, ms": values.asked },
  };
}
