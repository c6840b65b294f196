import type { ProcessRun } from "../machine.ts";
import type { World } from "../world.ts";
import { connectedSinceMs, isLiar } from "./reach.ts";

/** What a cut leaves behind may take so long to be seen and stopped. */
const GRACE_MS = 10_000;

/** One start per run token, and one process per container, wherever hosts reach each other. */
export class StartWatch {
  readonly #world: World;
  readonly #excused = new Set<ProcessRun>();

  constructor(world: World) {
    this.#world = world;
    world.watchers.onStart.push((run) => this.#onStart(run));
  }

  /** Processes of one container that have run side by side for longer than a cut explains. */
  look(): void {
    const byContainer = Map.groupBy(
      this.#world.runs.filter((run) => run.endedAtMs === undefined),
      (run) => run.container,
    );
    for (const runs of byContainer.values()) for (const [at, run] of runs.entries()) for (const other of runs.slice(0, at)) this.#sideBySide(other, run);
  }

  #onStart(run: ProcessRun): void {
    for (const other of this.#world.runs) {
      if (other === run || other.container !== run.container) continue;
      if (other.runToken === run.runToken) this.#sameToken(other, run);
      if (other.endedAtMs === undefined) this.#sideBySide(other, run);
    }
  }

  /** A disk that went back in time forgets what was started; so does one that was lost. */
  #sameToken(first: ProcessRun, second: ProcessRun): void {
    const { timeline } = this.#world;
    if (first.host === second.host) {
      if (!this.#hasForgotten(first.host)) this.#world.violate("one-start", `${this.#what(second)} was started twice on ${first.host} for one run token`);
      return;
    }
    if (this.#world.hosts.some((host) => isLiar(this.#world, host) && (host.name === first.host || host.name === second.host))) return;
    const sinceMs = this.#connectedSinceMs(first, second);
    const connectedMs = timeline.nowMs - sinceMs;
    if (connectedMs >= timeline.nowMs - first.startedAtMs + GRACE_MS && !this.#hasForgotten(first.host) && !this.#hasForgotten(second.host)) {
      this.#world.violate(
        "one-start",
        `${this.#what(second)} was started for one run token on ${first.host} and on ${second.host}, which have been connected for ${connectedMs} ms`,
      );
    }
  }

  #sideBySide(first: ProcessRun, second: ProcessRun): void {
    if (first.host === second.host) {
      if (!this.#excused.has(second)) this.#world.violate("one-start", `two processes of ${this.#what(second)} on ${first.host}`);
      this.#excused.add(second);
      return;
    }
    // Who was removed from the mesh hears nothing any more.
    if (this.#world.hosts.some((host) => (host.retired || isLiar(this.#world, host)) && (host.name === first.host || host.name === second.host))) return;
    const connectedMs = this.#world.timeline.nowMs - this.#connectedSinceMs(first, second);
    if (connectedMs > GRACE_MS)
      this.#world.violate("one-start", `${this.#what(second)} runs on ${first.host} and ${second.host}, which have been connected for ${connectedMs} ms`);
  }

  #connectedSinceMs(a: ProcessRun, b: ProcessRun): number {
    const [first, second] = [a, b].map((run) => this.#world.hosts.find(({ name }) => name === run.host));
    return first === undefined || second === undefined ? Number.POSITIVE_INFINITY : connectedSinceMs(this.#world, first, second);
  }

  #hasForgotten(host: string): boolean {
    return (this.#world.hosts.find(({ name }) => name === host)?.disk.losses ?? 0) > 0;
  }

  #what(run: ProcessRun): string {
    return this.#world.history.nameOf(run.container);
  }
}
