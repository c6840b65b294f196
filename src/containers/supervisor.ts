import type { Clock, ContainerId, Logger } from "../base/index.ts";
import type { ImageStore } from "../images/index.ts";
import { ContainerWorker, type WorkerDeps } from "./container-worker.ts";
import type { ContainerRuntime } from "./runtime.ts";
import { StartSlots } from "./start-slots.ts";
import type { Desired, DesiredContainers } from "./supervisor-ports.ts";

export type SupervisorDeps = {
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly desired: DesiredContainers;
  readonly clock: Clock;
  readonly logger: Logger;
};

export type SupervisorSettings = {
  /** Starts at once: each takes a few tens of milliseconds of two processors; more only makes all of them late. */
  readonly startsMax?: number;
};

export interface Supervisor {
  /** Begins to make what is like what should be. Repeated: nothing. */
  start(): Promise<void>;
  /** Ends all looking after; containers run on. Repeated: nothing. */
  stop(): Promise<void>;
}

const STARTS_MAX = 4;

/**
 * Keeps the containers of one host as they are desired: a worker each, so that one that hangs or fails holds up no
 * other. What lies here but is not in the desired state is named in the log and left, until it is known to be over: a
 * missing record is no order.
 */
export function createSupervisor(deps: SupervisorDeps, settings: SupervisorSettings = {}): Supervisor {
  const workers = new Map<ContainerId, { readonly worker: ContainerWorker; readonly done: Promise<void> }>();
  const named = new Set<ContainerId>();
  let shown: ReadonlyMap<ContainerId, Desired> = new Map();
  const workerDeps: WorkerDeps = { ...deps, slots: new StartSlots(settings.startsMax ?? STARTS_MAX) };
  let unsubscribe: (() => void) | undefined;

  function reconcile(): void {
    if (unsubscribe === undefined) return;
    const before = shown;
    shown = new Map(deps.desired.all().map((desired) => [desired.spec.id, desired]));
    for (const id of [...shown.keys(), ...[...named].filter((id) => deps.desired.isOver(id))]) {
      if (workers.has(id)) continue;
      named.delete(id);
      const worker = new ContainerWorker(id, workerDeps);
      const done = worker.run().finally(() => {
        workers.delete(id);
        // Asked for again while it was ending.
        reconcile();
      });
      workers.set(id, { worker, done });
    }
    // A look costs a question to the runtime: only those look of whose container something is new.
    for (const [id, { worker }] of workers) if (shown.get(id) !== before.get(id)) worker.ring();
  }

  async function nameUnknown(): Promise<void> {
    const desired = new Set(deps.desired.all().map(({ spec }) => spec.id));
    for (const id of await deps.runtime.list()) {
      if (desired.has(id) || named.has(id)) continue;
      named.add(id);
      if (deps.desired.isOver(id)) continue;
      deps.logger.warn({ container: id }, "a container is here that no record asks for; it is left alone until a removal or a better claim is known");
    }
    reconcile();
  }

  return {
    async start() {
      if (unsubscribe !== undefined) return;
      unsubscribe = deps.desired.onChange(reconcile);
      reconcile();
      await nameUnknown().catch((error: unknown) => deps.logger.error({ error }, "the containers of this host cannot be listed"));
    },
    async stop() {
      unsubscribe?.();
      unsubscribe = undefined;
      const ending = [...workers.values()];
      for (const { worker } of ending) worker.stop();
      await Promise.all(ending.map(({ done }) => done));
    },
  };
}
