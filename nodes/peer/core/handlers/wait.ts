import { CcError, isContainerId } from "../../../../src/base/index.ts";
import { type ContainerView, compareVersions } from "../../../../src/state/index.ts";
import type { AskAround } from "../ask-around.ts";
import { catchUp } from "../seen.ts";
import { awaitContainers } from "./await-phase.ts";
import { containerState } from "./container-state.ts";
import type { ItemErrorInit } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";

const CONTAINERS_MAX = 1_000;
/** Well below the time after which `cc` gives an answer up; who wants to wait longer asks again, at whichever peer. */
const WAIT_MS_MAX = 10_000;

const ENDED = new Set(["ended", "failed", "gone"]);

/** Whether it will not run again by itself. What was told to start and has not yet been seen to is on its way. */
export function hasEndedForGood({ phase, wanted, gone, best }: Pick<ContainerView, "phase" | "wanted" | "gone" | "best">): boolean {
  if (gone || best === undefined) return true;
  if (phase === undefined || !ENDED.has(phase.phase)) return false;
  return wanted?.kind !== "running" || compareVersions({ major: phase.wantedMajor, minor: phase.wantedMinor }, wanted.version) >= 0;
}

export function waitHandlers(parts: HandlerParts, askAround: AskAround): Some<"wait"> {
  const { view } = parts;
  return {
    wait: async (request, { caller, signal }) => {
      const ids = [...new Set(request.containers)].filter(isContainerId);
      if (ids.length === 0 || ids.length > CONTAINERS_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${CONTAINERS_MAX} containers by their ids`);
      await catchUp(parts, request.to);
      const unknown = ids.filter((id) => view.container(id) === undefined);
      const notAsked = unknown.length > 0 ? await askAround(unknown) : [];
      const known = ids.filter((id) => view.container(id) !== undefined);
      const missing: ItemErrorInit[] = ids
        .filter((id) => !known.includes(id))
        .map((item) => ({
          item,
          code: "NOT_FOUND",
          message: `there is no container ${item}${notAsked.length > 0 ? `; these hosts could not be asked: ${notAsked.join(", ")}` : ""}`,
        }));
      const isOver = (container: ContainerView | undefined): boolean => container === undefined || hasEndedForGood(container);
      const limitMs = Math.min(WAIT_MS_MAX, Math.max(0, request.waitMs));
      if (missing.length === 0) await awaitContainers(parts, known, isOver, limitMs, signal, "some");
      const ended = known.flatMap((id) => view.container(id) ?? []).filter(hasEndedForGood);
      return { ended: ended.map((container) => containerState(parts, container, caller.role)), errors: missing };
    },
  };
}
