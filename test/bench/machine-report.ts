import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { DOCKER, DOCKERD, PODMAN } from "./rivals.ts";

/** Name and value pairs: what numbers of another day or machine are not comparable without. */
export function machineReport(withRivals: boolean): readonly (readonly [string, string])[] {
  const gib = (totalmem() / 1024 ** 3).toFixed(1);
  return [
    ["machine", `${cpus()[0]?.model.trim() ?? "unknown processor"}, ${availableParallelism()} cores, ${gib} GiB`],
    ["system", `${systemName()}, Linux ${release()}`],
    ["node", process.version],
    ["crun, conmon", `${version("crun", "--version")}; ${version("conmon", "--version")}`],
    ...(withRivals ? ([["rivals", `${version(DOCKERD, "--version")}; ${version(DOCKER, "--version")}; ${version(PODMAN, "--version")}`]] as const) : []),
    [
      "load before",
      `${loadavg()
        .map((load) => load.toFixed(1))
        .join(", ")} (1, 5, 15 minutes)`,
    ],
    ["commit", version("git", "rev-parse", "--short", "HEAD")],
  ];
}

function systemName(): string {
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown system";
}

function version(...argv: readonly string[]): string {
  const [program = "", ...args] = argv;
  try {
    return execFileSync(program, args, { encoding: "utf8", timeout: 10_000 }).split("\n")[0]?.trim() ?? "";
  } catch {
    return `${program} unknown`; // A missing program is said by the part that needs it.
  }
}
