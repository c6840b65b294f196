import { type FSWatcher, watch } from "node:fs";
import type { Clock } from "../../../base/index.ts";

/** One ring, for something that happens after it was armed. Cancel it when it is no longer waited for. */
export type Bell = { readonly rung: Promise<void>; readonly cancel: () => void };

/** Resolves when a bell rings, after `ms`, or with the signal; leaves no timer behind. */
export function awaitBells(clock: Clock, bells: readonly Bell[], ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    if (signal.aborted) return done();
    signal.addEventListener("abort", done, { once: true });
    for (const bell of bells) bell.rung.then(done, done);
    return undefined;
  });
}

/** Rings when conmon writes a container's exit file. Open before anything is looked at, so that no exit falls in between. */
export class ExitWatch {
  readonly #watcher: FSWatcher;
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(folder: string) {
    this.#watcher = watch(folder, { persistent: false }, (_, name) => {
      // Without a name the kernel's queue ran over: everyone looks.
      if (name === null) this.ringAll();
      else this.ring(name);
    });
    this.#watcher.on("error", () => this.ringAll());
  }

  /** Rings once, for an exit after this call. */
  arm(id: string): Bell {
    const waiting = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, waiting);
    let ring: () => void = () => undefined;
    const rung = new Promise<void>((resolve) => {
      ring = resolve;
    });
    waiting.add(ring);
    return {
      rung,
      cancel: () => {
        waiting.delete(ring);
        if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
      },
    };
  }

  ring(id: string): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    for (const ring of waiting ?? []) ring();
  }

  ringAll(): void {
    for (const id of [...this.#waiting.keys()]) this.ring(id);
  }

  close(): void {
    this.#watcher.close();
    this.ringAll();
  }
}
