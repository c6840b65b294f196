import { type ChildProcess, spawn } from "node:child_process";
import { readlinkSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { Cleanup } from "../cleanup.ts";
import { outputOf } from "../timed-run.ts";

/** A network namespace, by a process that is in it. */
export type Place = { readonly pid: number };

export const inside = ({ pid }: Place, ...argv: readonly string[]): string[] => ["nsenter", `--net=/proc/${pid}/ns/net`, ...argv];

const READY_MS = 10_000;

/** Makes namespaces that go with this process, however it ends, and with them all devices in them. */
export class Places {
  readonly #signal: AbortSignal;
  readonly #children: ChildProcess[] = [];

  constructor(cleanup: Cleanup, signal: AbortSignal) {
    this.#signal = signal;
    cleanup.add("network namespaces", async () => {
      for (const child of this.#children) child.kill("SIGKILL");
    });
  }

  async make(): Promise<Place> {
    const child = this.start(["unshare", "--net", "sleep", "infinity"]);
    const own = readlinkSync("/proc/self/ns/net");
    for (let waitedMs = 0; waitedMs < READY_MS; waitedMs += 10) {
      if (child.exitCode !== null || child.pid === undefined) break;
      if (readlinkSync(`/proc/${child.pid}/ns/net`) !== own) {
        await this.run({ pid: child.pid }, "ip link set lo up");
        return { pid: child.pid };
      }
      await pause(10, undefined, { signal: this.#signal });
    }
    throw new Error("a network namespace could not be made");
  }

  /** A program that ends with this process. */
  start(argv: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...argv], { stdio: "ignore", env: { PATH: process.env["PATH"] ?? "", ...env } });
    this.#children.push(child);
    return child;
  }

  /** Each line must succeed. */
  run(place: Place, ...lines: readonly string[]): Promise<string> {
    return outputOf(inside(place, "sh", "-ec", lines.join("\n")), this.#signal);
  }
}
