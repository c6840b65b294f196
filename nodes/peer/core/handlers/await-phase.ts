import { CcError, type Clock, type ContainerId, deadline } from "../../../../src/base/index.ts";
import type { ContainerView, ReplicaService, View } from "../../../../src/state/index.ts";

type Parts = { readonly replica: ReplicaService; readonly view: View; readonly clock: Clock };

/** Whoever types `cc run --detach` and at once `cc exec` is not to be told that it does not run; a pull may take minutes, though. */
const START_MS_MAX = 3_000;
const COMING: ReadonlySet<string> = new Set(["claimed", "pulling", "starting"]);

/** It is being started, or was asked to and its host has not begun. */
function isComing(container: ContainerView | undefined): boolean {
  const { phase, wanted } = container ?? {};
  return phase === undefined || COMING.has(phase.phase) || (wanted?.runToken !== undefined && wanted.runToken !== phase.runToken);
}

/** Waits a moment for a container that is being started. Throws CcError NOT_RUNNING when it still is after that, or waits to be started again. */
export async function awaitStarted(parts: Parts, id: ContainerId, signal: AbortSignal): Promise<void> {
  await awaitContainers(parts, [id], (container) => !isComing(container), START_MS_MAX, signal);
  const container = parts.view.container(id);
  const phase = container?.phase?.phase ?? "claimed";
  if (isComing(container)) throw new CcError("NOT_RUNNING", `container ${id} is still being started (${phase}); cc status ${id} shows when it runs`);
  if (phase === "backoff") throw new CcError("NOT_RUNNING", `container ${id} has ended and is started again in a while; cc status ${id} shows why and when`);
}

/** Resolves when each container (or `some` one) fits, or when the time is over: a change is done when its record is stored, waiting is a courtesy. */
export async function awaitContainers(
  parts: Parts,
  ids: readonly ContainerId[],
  fits: (container: ContainerView | undefined) => boolean,
  limitMs: number,
  signal: AbortSignal,
  needed: "every" | "some" = "every",
): Promise<void> {
  const enoughFit = (): boolean => ids[needed]((id) => fits(parts.view.container(id)));
  if (enoughFit()) return;
  const limit = deadline(parts.clock, limitMs, signal);
  await new Promise<void>((resolve) => {
    const undo = parts.replica.onChange(() => {
      if (enoughFit()) done();
    });
    const done = (): void => {
      undo();
      limit.signal.removeEventListener("abort", done);
      resolve();
    };
    limit.signal.addEventListener("abort", done, { once: true });
  });
  limit.dispose();
}
