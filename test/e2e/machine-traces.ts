/** Writes down what tests could leave on this machine, or prints what is new of it: `machine-traces.ts save|compare FILE`. Waits some seconds for what is going. */
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { readTraces } from "./traces.ts";

const PATIENCE_MS = 10_000;
const [, , word, file = ""] = process.argv;

if (word === "save") writeFileSync(file, JSON.stringify([...readTraces()]));
else {
  const before = new Set<string>(JSON.parse(readFileSync(file, "utf8")));
  const look = (): string[] => [...readTraces()].filter((trace) => !before.has(trace));
  let left = look();
  for (const startedMs = performance.now(); left.length > 0 && performance.now() - startedMs < PATIENCE_MS; left = look()) await pause(200);
  for (const trace of left) console.log(trace);
}
