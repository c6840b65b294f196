import { ContainerStatusRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { type Caller, decodeBody } from "../../../../src/api/index.ts";
import { asCcError, CcError, type ContainerId, isContainerId, type PeerId } from "../../../../src/base/index.ts";
import type { ContainerView } from "../../../../src/state/index.ts";
import type { HandlerParts } from "./parts.ts";

const CONTAINERS_MAX = 1_000;
const HOST_MS = 2_000;

/** A port of a host, and what became of it at the router. */
export type ForwardedPort = {
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly protocol: string;
  /** `address:port`; empty: `note` says why. */
  readonly external: string;
  readonly note: string;
};

/** What this host's router forwards. */
export interface ForwardsHere {
  /** Of a container of this host that was started with `--forward`. */
  of(container: ContainerId): readonly ForwardedPort[];
  /** Why its own port is not reached from outside, where it is to be forwarded. */
  whyNotOutside(): string;
}

export type AskForwards = (containers: readonly ContainerView[], caller: Caller, signal: AbortSignal) => Promise<ReadonlyMap<string, readonly ForwardedPort[]>>;

/**
 * What routers said about forwarded ports, asked of the containers' hosts side by side: it changes by itself, so it is no record. Hosts
 * without such a container are not asked.
 */
export function createAskForwards(parts: Pick<HandlerParts, "mesh" | "view" | "liveness" | "self" | "authenticator">, here: ForwardsHere): AskForwards {
  const { mesh, view, liveness, self } = parts;

  mesh.handle("forwards", async ({ request, containers }, from) => {
    if (request === undefined || containers.length > CONTAINERS_MAX)
      throw new CcError("BAD_REQUEST", "forwarded ports are asked for with the user's own request");
    const caller = await parts.authenticator.passedOn("ContainerStatus", request, from, "forwards", "");
    // Which containers it is about the user says, not the peer in between.
    const items = new Set(decodeBody(ContainerStatusRequestSchema, caller.signed.body).containers);
    const ids = containers.filter(isContainerId).filter((id) => items.has(id) || items.has(view.container(id)?.name ?? ""));
    return { containers: ids.map((container) => ({ container, ports: here.of(container).map((port) => ({ ...port })) })) };
  });

  async function ask(holder: PeerId, containers: readonly ContainerView[], caller: Caller, signal: AbortSignal): Promise<(readonly ForwardedPort[])[]> {
    if (holder === self) return containers.map(({ id }) => here.of(id));
    const name = view.member(holder)?.name || holder;
    if (liveness.of(holder).standing === "unreachable") return containers.map(() => [unknown(`its host ${name} cannot be reached`)]);
    try {
      const asked = { request: caller.signed, containers: containers.map(({ id }) => id) };
      const said = await mesh.call(holder, "forwards", asked, { timeoutMs: HOST_MS, signal });
      const answers = new Map(said.containers.map(({ container, ports }) => [container, ports]));
      return containers.map(({ id }) => answers.get(id) ?? []);
    } catch (error) {
      return containers.map(() => [unknown(`its host ${name} did not tell (${asCcError(error).message})`)]);
    }
  }

  return async (containers, caller, signal) => {
    const byHolder = Map.groupBy(
      containers.filter(({ spec, best }) => spec.forward && best !== undefined),
      ({ best }) => best?.holder,
    );
    const answers = await Promise.all(
      [...byHolder].map(async ([holder, held]) => {
        const ports = holder === undefined ? [] : await ask(holder, held, caller, signal);
        return held.map(({ id }, at) => [id, ports[at] ?? []] as const);
      }),
    );
    return new Map(answers.flat());
  };
}

/** Stands for every port of the container. */
const unknown = (note: string): ForwardedPort => ({ hostAddress: "", hostPort: 0, protocol: "", external: "", note });

/** What was said about a port of a container. */
export function saidOf(forwards: readonly ForwardedPort[], { hostAddress, hostPort, protocol }: Pick<ForwardedPort, "hostAddress" | "hostPort" | "protocol">) {
  const said = forwards.find((one) => one.hostPort === hostPort && one.protocol === protocol && one.hostAddress === hostAddress);
  const { external, note } = said ?? forwards.find((one) => one.hostPort === 0) ?? unknown("its host does not say");
  return { external, note };
}
