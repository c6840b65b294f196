import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ContainerMetricsSchema, MetricsRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { type Caller, decodeBody } from "../../../../src/api/index.ts";
import { asCcError, CcError, type ContainerId, isContainerId, type PeerId } from "../../../../src/base/index.ts";
import type { ContainerRuntime } from "../../../../src/containers/index.ts";
import type { ContainerView } from "../../../../src/state/index.ts";
import type { AskAround } from "../ask-around.ts";
import { catchUp } from "../seen.ts";
import { containerState } from "./container-state.ts";
import { type ItemErrorInit, withNotAsked } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { findContainers } from "./reads.ts";

const CONTAINERS_MAX = 1_000;
/** A host that answers later counts as one that does not: the others are shown by then. */
const HOST_MS = 2_000;

type MetricsInit = MessageInitShape<typeof ContainerMetricsSchema>;
/** What the hosts said: measured, or why not. */
type Asked = { readonly measured: ReadonlyMap<string, MetricsInit>; readonly failed: string | undefined };

/** What containers use, asked of their hosts side by side. What changes by itself is never a record. */
export function metricsHandlers(parts: HandlerParts, runtime: Pick<ContainerRuntime, "metrics">, askAround: AskAround): Some<"metrics"> {
  const { mesh, view, liveness } = parts;
  const named = (caller: Caller) => decodeBody(MetricsRequestSchema, caller.signed.body);

  mesh.handle("metrics", async ({ request, containers }, from) => {
    if (request === undefined || containers.length > CONTAINERS_MAX) throw new CcError("BAD_REQUEST", "metrics are asked for with the user's own request");
    const caller = await parts.authenticator.passedOn("Metrics", request, from, "metrics", "");
    // Which containers it is about the user says, not the peer in between.
    const items = new Set(named(caller).containers);
    const ids = containers.filter(isContainerId).filter((id) => items.has(id) || items.has(view.container(id)?.name ?? ""));
    return { containers: await measure(ids) };
  });

  async function measure(ids: readonly ContainerId[]): Promise<MetricsInit[]> {
    const all = await Promise.all(
      ids.map(async (id) => {
        const metrics = await runtime.metrics(id);
        return metrics === undefined ? [] : [{ ...metrics, id, interfaces: [...metrics.interfaces] }];
      }),
    );
    return all.flat();
  }

  async function ask(holder: PeerId | undefined, ids: readonly ContainerId[], caller: Caller, signal: AbortSignal): Promise<Asked> {
    if (holder === undefined) return { measured: new Map(), failed: "the host that had it is no longer in the mesh" };
    if (holder === parts.self) return { measured: byId(await measure(ids)), failed: undefined };
    const name = view.member(holder)?.name || holder;
    if (liveness.of(holder).standing === "unreachable") return { measured: new Map(), failed: `its host ${name} cannot be reached` };
    try {
      const { containers } = await mesh.call(holder, "metrics", { request: caller.signed, containers: [...ids] }, { timeoutMs: HOST_MS, signal });
      return { measured: byId(containers), failed: undefined };
    } catch (error) {
      return { measured: new Map(), failed: `its host ${name} did not tell (${asCcError(error).message})` };
    }
  }

  return {
    metrics: async (request, { caller, signal }) => {
      await catchUp(parts, request.to);
      const { containers: items } = request;
      if (items.length === 0 || items.length > CONTAINERS_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${CONTAINERS_MAX} containers`);
      const asked = [...new Set(items)];
      const { found, notAsked } = await findContainers(parts, askAround, asked);
      const errors: ItemErrorInit[] = [];
      // The same by its id and by its name is one.
      const containers = new Map<ContainerId, { readonly item: string; readonly container: ContainerView }>();
      for (const [at, one] of found.entries()) {
        if ("error" in one) errors.push(withNotAsked(one.error, notAsked));
        else if (!containers.has(one.container.id)) containers.set(one.container.id, { item: asked[at] ?? one.container.id, container: one.container });
      }
      const byHolder = Map.groupBy(containers.keys(), (id) => containers.get(id)?.container.best?.holder);
      const answers = new Map(await Promise.all([...byHolder].map(async ([holder, ids]) => [holder, await ask(holder, ids, caller, signal)] as const)));
      const shown: MetricsInit[] = [];
      for (const { item, container } of containers.values()) {
        const answer = answers.get(container.best?.holder);
        if (answer?.failed === undefined) shown.push(state(container, caller, answer?.measured.get(container.id)));
        else errors.push({ item, code: "HOST_UNREACHABLE", message: answer.failed });
      }
      return { containers: shown, errors };
    },
  };

  /** As its records have it, with what its host measured. */
  function state(container: ContainerView, caller: Caller, measured: MetricsInit | undefined): MetricsInit {
    const { id, name, host, hostName, phase, startedAtMs, cpuShares } = containerState(parts, container, caller.role);
    const known = { id, name, host, hostName, phase, running: measured !== undefined } as MetricsInit;
    if (measured === undefined) return known;
    return { startedAtMs, ...measured, ...known, cpu: { ...measured.cpu, shares: cpuShares } } as MetricsInit;
  }
}

function byId(measured: readonly MetricsInit[]): ReadonlyMap<string, MetricsInit> {
  return new Map(measured.map((each) => [each.id ?? "", each]));
}
