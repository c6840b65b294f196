import { type ContainerId, isContainerId, isKeyId, isPeerId } from "../../../../src/base/index.ts";
import type { ContainerView } from "../../../../src/state/index.ts";
import type { AskAround } from "../ask-around.ts";
import { catchUp } from "../seen.ts";
import { type ContainerStateInit, containerState } from "./container-state.ts";
import { findVolumes } from "./find-volumes.ts";
import { findVpcs } from "./find-vpcs.ts";
import type { AskForwards } from "./forwards.ts";
import { type ItemErrorInit, withNotAsked } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";

const ENDED = new Set(["ended", "failed", "yielded"]);

/** Finds one container by id or unique name among what is known here. */
export function findContainer(parts: Pick<HandlerParts, "view">, item: string): { readonly container: ContainerView } | { readonly error: ItemErrorInit } {
  const ids: readonly ContainerId[] = isContainerId(item) ? [item] : parts.view.byName(item);
  const live = ids.flatMap((id) => parts.view.container(id) ?? []).filter((container) => !container.gone);
  const [first, second] = live;
  if (first === undefined) return { error: { item, code: "NOT_FOUND", message: `there is no container ${item}; cc ps --all lists them` } };
  if (second !== undefined)
    return { error: { item, code: "NAME_AMBIGUOUS", message: `several containers are named ${item}: ${live.map(({ id }) => id).join(", ")}; use the id` } };
  return { container: first };
}

/** The same after asking around for what is unknown. */
export async function findContainers(
  parts: Pick<HandlerParts, "view">,
  askAround: AskAround,
  items: readonly string[],
): Promise<{ readonly found: readonly ReturnType<typeof findContainer>[]; readonly notAsked: readonly string[] }> {
  const unknown = items.filter((item) => !isKnown(parts, item));
  const notAsked = unknown.length > 0 ? await askAround(unknown) : [];
  return { found: items.map((item) => findContainer(parts, item)), notAsked };
}

/** What is known to be removed needs no asking. */
function isKnown(parts: Pick<HandlerParts, "view">, item: string): boolean {
  return isContainerId(item) ? parts.view.container(item) !== undefined : parts.view.byName(item).length > 0;
}

export function readHandlers(parts: HandlerParts, askAround: AskAround, askForwards: AskForwards): Some<"listContainers" | "containerStatus" | "resolve"> {
  const { view, liveness, clock } = parts;
  return {
    listContainers: async (request, { caller }) => {
      await catchUp(parts, request.to);
      const containers = view
        .containers()
        .filter((container) => !container.gone)
        .map((container) => containerState(parts, container, caller.role))
        .filter((state) => request.all || !ENDED.has(state.phase ?? ""))
        .filter((state) => Object.entries(request.labels).every(([name, value]) => state.labels?.[name] === value));
      containers.sort((a, b) => (b.createdAtMs ?? 0) - (a.createdAtMs ?? 0) || ((a.id ?? "") < (b.id ?? "") ? -1 : 1));
      return { containers, unreachable: unreachableHosts(), asOfMs: clock.nowMs() };
    },

    containerStatus: async (request, { caller, signal }) => {
      await catchUp(parts, request.to);
      const { found, notAsked } = await findContainers(parts, askAround, request.containers);
      const forwards = await askForwards(
        found.flatMap((one) => ("container" in one ? [one.container] : [])),
        caller,
        signal,
      );
      const containers: ContainerStateInit[] = [];
      const errors: ItemErrorInit[] = [];
      for (const one of found) {
        if ("container" in one) containers.push(containerState(parts, one.container, caller.role, forwards.get(one.container.id)));
        else errors.push(withNotAsked(one.error, notAsked));
      }
      return { containers, errors };
    },

    resolve: async (request) => {
      await catchUp(parts, request.to);
      const errors: ItemErrorInit[] = [];
      let notAsked: readonly string[] = [];
      const ids: string[] = [];
      if (request.kind === "container") {
        const looked = await findContainers(parts, askAround, request.names);
        notAsked = looked.notAsked;
        for (const one of looked.found) {
          if ("container" in one) ids.push(one.container.id);
          else {
            ids.push("");
            errors.push(one.error);
          }
        }
      } else if (request.kind === "volume") {
        const looked = await findVolumes(parts, askAround, request.names);
        notAsked = looked.notAsked;
        ids.push(...looked.found.map((one) => ("volume" in one ? one.volume.id : "")));
        errors.push(...looked.found.flatMap((one) => ("error" in one ? [one.error] : [])));
      } else if (request.kind === "vpc") {
        const looked = await findVpcs(parts, askAround, request.names);
        notAsked = looked.notAsked;
        ids.push(...looked.found.map((one) => ("vpc" in one ? one.vpc.id : "")));
        errors.push(...looked.found.flatMap((one) => ("error" in one ? [one.error] : [])));
      } else {
        for (const name of request.names) {
          const matches = request.kind === "host" ? hostsNamed(name) : keysNamed(name);
          const [id] = matches;
          ids.push(matches.length === 1 && id !== undefined ? id : "");
          if (matches.length > 1)
            errors.push({ item: name, code: "NAME_AMBIGUOUS", message: `several have the name ${name}: ${matches.join(", ")}; use the id` });
        }
      }
      return { ids, errors, notAsked: [...notAsked] };
    },
  };

  function unreachableHosts(): string[] {
    return view
      .members()
      .filter((member) => member.peer !== parts.self && liveness.of(member.peer).standing === "unreachable")
      .map((member) => member.name || member.peer);
  }

  function hostsNamed(name: string): string[] {
    return isPeerId(name) ? [name] : view.members().flatMap((member) => (member.name === name ? [member.peer] : []));
  }

  function keysNamed(name: string): string[] {
    return isKeyId(name) ? [name] : [...view.authority().keys.values()].flatMap((key) => (key.name === name && key.state === "live" ? [key.keyId] : []));
  }
}
