import { spawn } from "node:child_process";
import { join } from "node:path";
import type { Mutation } from "../mutations/mutation.ts";
import { MUTATIONS } from "../mutations/mutations.ts";
import { nameOf, type Played, SCENARIOS } from "./scenarios.ts";

/** One mutation against its scenarios: what caught it, if anything did. */
export type Row = { readonly mutation: Mutation; readonly scenario: string; readonly caughtBy: string | undefined; readonly text: string };

type Told = Played & { readonly scenario: number };

const PLAY = join(import.meta.dirname, "play.ts");
const LOAD = join(import.meta.dirname, "../mutations/load.ts");
const LIMIT_MS = 90_000;

/** Plays scenarios in a process of their own. One that hangs is ended, which counts as caught: "no-fault". */
export function playApart(scenarios: readonly number[], mutation?: number): Promise<readonly Told[]> {
  return new Promise((resolve, reject) => {
    const imports = mutation === undefined ? [] : ["--import", LOAD];
    const env = { ...process.env, ...(mutation === undefined ? {} : { SIMULATED_MUTATION: String(mutation) }) };
    const child = spawn(process.execPath, [...imports, PLAY, ...scenarios.map(String)], { stdio: ["ignore", "pipe", "pipe"], env });
    let out = "";
    let err = "";
    let hung = false;
    const limit = setTimeout(() => {
      hung = true;
      child.kill("SIGKILL");
    }, LIMIT_MS);
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString("utf8")));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString("utf8")));
    child.once("error", reject);
    child.once("close", () => {
      clearTimeout(limit);
      const told = out
        .split("\n")
        .filter((line) => line !== "")
        .map((line): Told => JSON.parse(line));
      if (hung) told.push({ scenario: scenarios[told.length] ?? -1, seed: 0, violation: { invariant: "no-fault", atMs: 0, text: "it never ends" }, tail: [] });
      else if (told.length === 0) return reject(new Error(`the scenarios were not played: ${err.slice(0, 2_000)}`));
      resolve(told);
    });
  });
}

export function scenariosOf(mutation: Mutation): readonly number[] {
  return SCENARIOS.flatMap((scenario, at) => (scenario.hazard === mutation.hazard && nameOf(scenario).includes(mutation.scenario ?? "") ? [at] : []));
}

export async function tryMutation(at: number): Promise<Row> {
  const mutation = MUTATIONS[at];
  if (mutation === undefined) throw new RangeError(`there is no mutation ${at}`);
  const told = await playApart(scenariosOf(mutation), at);
  const caught = told.find(({ violation }) => violation !== undefined);
  const scenario = SCENARIOS[(caught ?? told[0])?.scenario ?? -1];
  return { mutation, scenario: scenario === undefined ? "" : scenario.what, caughtBy: caught?.violation?.invariant, text: caught?.violation?.text ?? "" };
}

/** So many at a time, in the order of the list. */
export async function inParallel<T>(count: number, jobs: number, work: (at: number) => Promise<T>): Promise<readonly T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < count; at = next++) results[at] = await work(at);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results;
}

/** hazard × scenario × mutation × caught by which invariant. */
export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map(({ mutation, scenario, caughtBy }) => [mutation.hazard, scenario, mutation.name, caughtBy ?? "NOT CAUGHT"]);
  const all = [["hazard", "history", "rule switched off", "caught by"], ...cells];
  const widths = [0, 1, 2, 3].map((column) => Math.min(60, Math.max(...all.map((row) => (row[column] ?? "").length))));
  return all
    .map((row) =>
      row
        .map((cell, column) => shorten(cell, widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const shorten = (text: string, width: number): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width));
