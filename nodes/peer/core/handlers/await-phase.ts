import { type Clock, type ContainerId, deadline } from "../../../../src/base/index.ts";
import type { ContainerView, ReplicaService, View } from "../../../../src/state/index.ts";

/** Resolves when each container (or `some` one) fits, or when the time is over: a change is done when its record is stored, waiting is a courtesy. */
export async function awaitContainers(
  parts: { readonly replica: ReplicaService; readonly view: View; readonly clock: Clock },
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
