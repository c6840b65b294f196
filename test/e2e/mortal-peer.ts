import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseReady } from "../../nodes/lab/hosts.ts";
import { type HostPlan, hostOf, layoutOf } from "../../nodes/lab/layout.ts";
import { readCgroupRoots, startProgram } from "../../nodes/lab/machine.ts";
import { isAlive, type ProcessRef } from "../../nodes/lab/processes.ts";
import { findPrograms } from "../../nodes/lab/programs.ts";
import { enterHost } from "../../nodes/lab/scripts.ts";
import { requireState } from "../../nodes/lab/state-file.ts";
import type { TestLab } from "./lab.ts";

const TOP = join(import.meta.dirname, "../..");
const READY_MS = 60_000;

/** A peer of the lab that a test kills and starts itself: the lab's own command would wait for it to be ready. */
export class MortalPeer {
  readonly readyAfterMs: number[] = [];
  readonly #lab: TestLab;
  readonly #layout;
  readonly #plan: HostPlan;
  #process: ProcessRef;
  #outputFrom = 0;
  #startedMs = 0;

  constructor(lab: TestLab, number: number) {
    const layout = layoutOf(TOP, lab.name);
    if (!layout.ok) throw new Error(layout.message);
    const state = requireState(layout.value.stateFile);
    const host = state.hosts[number - 1];
    if (host?.peer === undefined) throw new Error(`host ${number} has no peer`);
    this.#lab = lab;
    this.#layout = layout.value;
    this.#plan = hostOf(layout.value, state.subnet, number, host.zone);
    this.#process = host.peer;
  }

  /** kill -9; resolves when the process is gone. */
  async kill(): Promise<void> {
    process.kill(this.#process.pid, "SIGKILL");
    while (isAlive(this.#process)) await pause(5);
  }

  /** `preload`: a module that the peer loads before its own. */
  start(preload?: string): void {
    const { output, log, config } = this.#plan;
    this.#outputFrom = statSync(output).size;
    this.#startedMs = performance.now();
    const words = [...(preload === undefined ? [] : ["env", `NODE_OPTIONS=--import=${preload}`]), findPrograms(TOP).peer, "run", "--config", config];
    this.#process = startProgram(enterHost(this.#layout, this.#plan, readCgroupRoots(), TOP, words), { stdout: output, stderr: log, cwd: TOP }).ref;
  }

  async untilReady(): Promise<void> {
    while (!this.#isReady()) {
      if (performance.now() - this.#startedMs > READY_MS) throw new Error(`${this.#plan.name} of ${this.#lab.name} is not ready`);
      await pause(20);
    }
    this.readyAfterMs.push(performance.now() - this.#startedMs);
  }

  #isReady(): boolean {
    const said = readFileSync(this.#plan.output).subarray(this.#outputFrom).toString("utf8");
    return said
      .split("\n")
      .slice(0, -1)
      .some((line) => parseReady(line) !== undefined);
  }
}
