import { type BenchLab, HOSTS } from "../bench-lab.ts";
import { number, type Result, verdict } from "../report.ts";
import type { Rivals } from "../rivals.ts";
import { median, turnOrder } from "../statistics.ts";
import { type Command, timedRun } from "../timed-run.ts";

/** No slower than `docker exec`. */
const BUDGET = 1;
const NAME = "bench-exec";
const FOREVER = ["sleep", "100000"];

/** One more command in a running container, all engines by turns; `cc` through the peer that has it and through another. */
export async function benchExec(lab: BenchLab, rivals: Rivals, image: string, runs: number, signal: AbortSignal): Promise<Result> {
  await timedRun(rivals.docker(["run", "--detach", "--name", NAME, image, ...FOREVER]), signal);
  await timedRun(rivals.podman(["pull", "--quiet", "--tls-verify=false", image]), signal);
  await timedRun(rivals.podmanDetached(NAME, image, FOREVER), signal);
  await timedRun(await lab.cc(["run", "--detach", "--name", NAME, "--host", "h1", "--image", image, ...FOREVER]), signal);
  const words = ["exec", NAME, "true"];
  const contestants: readonly { readonly name: string; readonly command: Command }[] = [
    { name: "docker exec", command: rivals.docker(words) },
    { name: "podman exec", command: rivals.podman(words) },
    { name: "cc exec, through the container's host", command: await lab.cc(words, 1) },
    { name: "cc exec, through another", command: await lab.cc(words, HOSTS) },
    { name: "node -e 0", command: { argv: [process.execPath, "-e", "0"] } },
  ];
  const exitMs = contestants.map((): number[] => []);
  for (const { command } of contestants) await timedRun(command, signal);
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(contestants.length, turn)) {
      const contestant = contestants[index];
      if (contestant !== undefined) exitMs[index]?.push((await timedRun(contestant.command, signal)).exitMs);
    }
  }
  await timedRun(await lab.cc(["rm", "--force", NAME]), signal);
  const base = median(exitMs[0] ?? []);
  const ratio = median(exitMs[2] ?? []) / base;
  return {
    part: "exec",
    title: `true in a running container, ${runs} interleaved runs (ms)`,
    columns: ["command", "exit, median", "least", "ratio to docker exec"],
    rows: contestants.map(({ name }, index) => {
      const values = exitMs[index] ?? [];
      return [name, number(median(values)), number(Math.min(...values)), number(median(values) / base)];
    }),
    notes: [`Budget ${BUDGET} of \`docker exec\`: ${number(ratio)}, ${verdict(ratio, BUDGET)}.`],
    values: Object.fromEntries(contestants.map(({ name }, index) => [`${name}, exit, ms`, exitMs[index] ?? []])),
  };
}
