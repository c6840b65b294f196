import { setTimeout as pause } from "node:timers/promises";
import { type BenchLab, HOSTS } from "../bench-lab.ts";
import { number, type Result, verdict } from "../report.ts";
import type { Rivals } from "../rivals.ts";
import { median, turnOrder } from "../statistics.ts";
import { type Command, timedRun } from "../timed-run.ts";

/** Between two runs: the one before is still being cleared away. */
const SETTLE_MS = 300;
const WORDS = ["echo", "hi"];
const BUDGET = 0.5;

type Contestant = { readonly name: string; readonly command: Command };

/** Command to first output of an image that every host has, all engines by turns. */
export async function benchRun(lab: BenchLab, rivals: Rivals, image: string, runs: number, signal: AbortSignal): Promise<Result> {
  for (let host = 1; host <= HOSTS; host += 1) await timedRun(await lab.cc(["run", "--rm", "--image", image, "--host", `h${host}`, ...WORDS]), signal);
  await timedRun(rivals.docker(["pull", "--quiet", image]), signal);
  await timedRun(rivals.podman(["pull", "--quiet", "--tls-verify=false", image]), signal);
  const contestants: readonly Contestant[] = [
    { name: "docker run, default network", command: rivals.dockerRun(image, "default", WORDS) },
    { name: "docker run --network none", command: rivals.dockerRun(image, "none", WORDS) },
    { name: "podman run, default network", command: rivals.podmanRun(image, "default", WORDS) },
    { name: "podman run --network none", command: rivals.podmanRun(image, "none", WORDS) },
    { name: "cc run", command: await lab.cc(["run", "--rm", "--image", image, ...WORDS]) },
  ];
  const firstMs = contestants.map((): number[] => []);
  const exitMs = contestants.map((): number[] => []);
  for (const { command } of contestants) await timedRun(command, signal);
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(contestants.length, turn)) {
      const contestant = contestants[index];
      if (contestant === undefined) continue;
      await pause(SETTLE_MS, undefined, { signal });
      const timed = await timedRun(contestant.command, signal);
      if (timed.stdout.trim() !== "hi" || timed.firstByteMs === undefined) throw new Error(`${contestant.name} printed ${JSON.stringify(timed.stdout)}`);
      firstMs[index]?.push(timed.firstByteMs);
      exitMs[index]?.push(timed.exitMs);
    }
  }
  const entrance: number[] = [];
  for (let turn = 0; turn < runs; turn += 1) entrance.push((await timedRun(rivals.podmanEntrance(), signal)).exitMs);
  const base = median(firstMs[0] ?? []);
  const rows = contestants.map(({ name }, index) => {
    const first = firstMs[index] ?? [];
    const middle = median(first);
    return [name, number(middle), number(Math.min(...first)), number(median(exitMs[index] ?? [])), number(middle / base)];
  });
  const ratio = median(firstMs.at(-1) ?? []) / base;
  return {
    part: "run",
    title: `Command to first output, cached image, ${runs} interleaved runs (ms)`,
    columns: ["command", "first output, median", "least", "exit, median", "ratio to docker run"],
    rows,
    notes: [
      `Budget 0.5 of \`docker run\` with its default network: ${number(ratio)}, ${verdict(ratio, BUDGET)}. podman's times include ${number(median(entrance))} ms to enter its namespaces.`,
    ],
    values: Object.fromEntries(
      contestants.flatMap(({ name }, index) => [
        [`${name}, first output, ms`, firstMs[index] ?? []],
        [`${name}, exit, ms`, exitMs[index] ?? []],
      ]),
    ),
  };
}
