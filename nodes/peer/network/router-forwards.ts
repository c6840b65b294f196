import { CcError, type Clock, type ContainerId, formatIp, type Logger, type PeerId } from "../../../src/base/index.ts";
import { type MappingStatus, type RouterMappings, standingPorts } from "../../../src/ports/index.ts";
import type { Replica, View } from "../../../src/state/index.ts";
import type { ForwardedPort, ForwardsHere } from "../core/handlers/forwards.ts";
import { isForwardOf, isServed, type OwnForward, type WantedForward, wantedForwards } from "./wanted-forwards.ts";

/** Changes that come together are followed together. */
const GATHER_MS = 50;
const KINDS = /\/(claim|phase|container|wanted)\//;

export type RouterForwardsParts = {
  /** `changed`: called when the status of some port may have changed. */
  readonly mappings: (changed: () => void) => RouterMappings;
  readonly own: readonly WantedForward[];
  readonly clock: Clock;
  readonly log: Logger;
};

export type ForwardsState = { readonly self: PeerId; readonly view: View; readonly replica: Pick<Replica, "onChange"> };

/**
 * What this host asks its router for: ports of its containers that have a process and were started with `--forward`, and the peer's own
 * where the configuration says so. Nothing is asked for, and nothing removed, before it is known what runs here.
 */
export class RouterForwards implements ForwardsHere {
  readonly #mappings: RouterMappings;
  readonly #parts: RouterForwardsParts;
  #state: ForwardsState | undefined;
  #wanted: readonly WantedForward[] = [];
  #asked: string | undefined;
  #undo = (): void => undefined;
  #cancel: (() => void) | undefined;
  #said = "";

  constructor(parts: RouterForwardsParts) {
    this.#parts = parts;
    this.#mappings = parts.mappings(() => this.#sayOwn());
  }

  start(state: ForwardsState): void {
    this.#state = state;
    this.#undo = state.replica.onChange((changed) => {
      if (!changed.some(({ key }) => KINDS.test(key))) return;
      this.#cancel ??= this.#parts.clock.after(GATHER_MS, () => {
        this.#cancel = undefined;
        this.#want();
      });
    });
    this.#want();
    this.#mappings.start();
  }

  /** The mappings stay: containers run on without the peer. */
  async stop(): Promise<void> {
    this.#undo();
    this.#cancel?.();
    await this.#mappings.stop();
  }

  /** Where one of the peer's own ports is reached through the router; undefined: not asked for, or not there. */
  external(of: OwnForward): { readonly address: string; readonly port: number } | undefined {
    const status = this.#statusOf((forward) => forward.of === of);
    return status?.state === "mapped" ? { address: formatIp(status.externalAddress), port: status.mappedPort } : undefined;
  }

  whyNotOutside(): string {
    if (!this.#parts.own.some(({ of }) => of === "mesh")) return "";
    const status = this.#statusOf(({ of }) => of === "mesh");
    return status === undefined ? "this host is starting" : noteOf(status);
  }

  of(id: ContainerId): readonly ForwardedPort[] {
    const container = this.#state?.view.container(id);
    if (container?.spec.forward !== true || container.best?.holder !== this.#state?.self) return [];
    return standingPorts([container]).map((port): ForwardedPort => {
      const { hostAddress, hostPort, protocol } = port;
      const status = this.#statusOf((forward) => isForwardOf(forward, id, port));
      const external = status?.state === "mapped" ? `${formatIp(status.externalAddress)}:${status.mappedPort}` : "";
      const note = status === undefined ? (isServed(container) ? "the router is about to be asked" : "not forwarded while it does not run") : noteOf(status);
      return { hostAddress: hostAddress === undefined ? "" : formatIp(hostAddress), hostPort, protocol, external, note };
    });
  }

  #statusOf(is: (forward: WantedForward) => boolean): MappingStatus | undefined {
    const at = this.#wanted.findIndex(is);
    return at < 0 ? undefined : this.#mappings.status()[at];
  }

  #want(): void {
    if (this.#state === undefined) throw new CcError("INTERNAL", "what runs here is not known yet");
    const { self, view } = this.#state;
    const containers = view.claimsOf(self).flatMap(({ id }) => view.container(id) ?? []);
    const wanted = wantedForwards(this.#parts.own, containers, self);
    const text = textOf(wanted);
    if (text === this.#asked) return;
    this.#asked = text;
    this.#wanted = wanted;
    this.#mappings.want(wanted);
  }

  /** Once for each state of affairs: whoever configured it is to see whether it works. */
  #sayOwn(): void {
    if (this.#wanted.length === 0) return;
    for (const { of } of this.#parts.own) {
      const status = this.#statusOf((forward) => forward.of === of);
      const text = status?.state === "failed" ? `${of}: ${status.reason}` : "";
      if (text !== "" && text !== this.#said) this.#parts.log.warn({ port: of, reason: text }, "the router does not forward this peer's port");
      if (text !== "") this.#said = text;
    }
  }
}

const textOf = (wanted: readonly WantedForward[]): string =>
  wanted.map(({ of, protocol, hostAddress, port }) => `${of} ${protocol} ${hostAddress === undefined ? "" : formatIp(hostAddress)} ${port}`).join("\n");

function noteOf(status: MappingStatus): string {
  if (status.state === "mapped") return status.note ?? "";
  return status.state === "failed" ? status.reason : "the router is being asked";
}
