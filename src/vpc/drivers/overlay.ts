import { stat } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type Cidr, type ContainerId, formatCidr, formatIp, type Ip, type PerlHelper, type ShellHelper, type VpcId } from "../../base/index.ts";
import { type HostNetwork, type LocalPort, type Underlay, type VpcNetwork, vpcMtu } from "../network.ts";
import type { AttachRequest, OverlayDriver, OverlayOutcome } from "../overlay-driver.ts";
import { type AttachedPort, portsOf, sortPorts, type VpcModel, wantedVpc, withoutPort, withPort } from "../overlay-model.ts";
import { type PortMark, pinOf, portName, transitName } from "../overlay-names.ts";
import { type Plan, planHost, planRemoval, planVpc } from "../overlay-plan.ts";
import { type AttachLines, attachLines, detachLines, isSameMark, mtuLines } from "../overlay-port.ts";
import { absentVpc, type OverlaySeen, transitFor } from "../overlay-seen.ts";
import { OverlayKernel } from "./overlay/kernel.ts";
import { OverlayMemory } from "./overlay/memory.ts";
import { Turns } from "./overlay/turns.ts";

export type OverlayDeps = {
  /** A kept shell of its own, in the host's network namespace: an attach waits for nobody else's script. */
  readonly shell: ShellHelper;
  /** What `createPortProgram` gives. */
  readonly program: PerlHelper;
};

export type OverlaySettings = {
  /** Gone with a reboot (tmpfs): pins of the VPCs' namespaces, in `vpc` below it. Absolute. */
  readonly runDir: string;
  /** From where VPCs get their addresses on this host. */
  readonly transit: Cidr;
};

/** So many are changed by one script: an attach waits for one. */
const VPCS_AT_ONCE = 8;
/** So many are looked at: the parsing of more would hold up the peer's loop. */
const LOOKS_AT_ONCE = 32;
/** What is gone meanwhile, or made by somebody, is seen at the second look. */
const TRIES = 2;

/** Opens the driver: waits for commands of an earlier peer and sees which VPCs are there. One driver per run folder and host. */
export async function openOverlay(deps: OverlayDeps, settings: OverlaySettings): Promise<OverlayDriver> {
  const kernel = new OverlayKernel(deps.shell, deps.program, join(settings.runDir, "vpc"));
  const ownNamespace = await kernel.open();
  const overlay = new Overlay(kernel, settings.transit, ownNamespace);
  await overlay.open();
  return overlay;
}

type PortsThatStay = (vpc: VpcNetwork, seen: VpcModel) => readonly AttachedPort[];
type Outcome = { readonly changed: Set<VpcId>; readonly missing: { vpc: VpcId; port: LocalPort }[]; readonly failed: Map<VpcId, CcError> };

class Overlay implements OverlayDriver {
  readonly #kernel: OverlayKernel;
  readonly #range: Cidr;
  readonly #ownNamespace: number;
  readonly #turns = new Turns();
  readonly #memory: OverlayMemory;

  constructor(kernel: OverlayKernel, range: Cidr, ownNamespace: number) {
    this.#kernel = kernel;
    this.#range = range;
    this.#ownNamespace = ownNamespace;
    this.#memory = new OverlayMemory(range);
  }

  /** What lies in the VPCs' namespaces is looked at when it is first needed. */
  open(): Promise<void> {
    return this.#turns.take(async () => {
      await this.#look([]);
    });
  }

  observe(): Promise<OverlaySeen> {
    return this.#turns.take(async () => {
      const pinned = [...(await this.#kernel.pins())].flatMap(([vpc, isPinned]) => (isPinned ? [vpc] : []));
      for (const vpc of [...this.#memory.transits.keys()].filter((vpc) => !pinned.includes(vpc))) this.#memory.gone(vpc);
      let seen = await this.#look([]);
      for (let at = 0; at < pinned.length; at += LOOKS_AT_ONCE) {
        const more = await this.#look(pinned.slice(at, at + LOOKS_AT_ONCE));
        seen = { host: more.host, vpcs: new Map([...seen.vpcs, ...more.vpcs]) };
      }
      return seen;
    });
  }

  converge(network: () => HostNetwork, signal?: AbortSignal, looksMax = Number.POSITIVE_INFINITY): Promise<OverlayOutcome> {
    return this.#converge(network, looksMax, signal);
  }

  follow(network: () => HostNetwork, signal?: AbortSignal): Promise<OverlayOutcome> {
    return this.#converge(network, 0, signal);
  }

  ensureVpc(underlay: Underlay, vpc: VpcNetwork): Promise<void> {
    return this.#turns.take(async () => {
      await this.#ensure(underlay, vpc);
    });
  }

  attach(request: AttachRequest): Promise<void> {
    const { underlay, vpc, port, namespacePath } = request;
    return this.#turns.take(async () => {
      const mark: PortMark = { ...port, namespace: await this.#namespaceAt(namespacePath) };
      const mtu = vpcMtu(underlay);
      let model = await this.#ensure(underlay, vpc);
      // What is said to be there is looked at: it may have been broken, or belong to an earlier start of the container.
      if (portsOf(model).has(portName(port.container))) {
        this.#memory.forget(vpc.id);
        model = await this.#ensure(underlay, vpc);
      }
      const found = portsOf(model).get(portName(port.container));
      const isRight = found !== undefined && isSameMark(found.mark, mark);
      if (isRight && found.mtu === mtu) return;
      if (found !== undefined && !isRight) await this.#removePort(vpc.id, model, found.mark);
      await this.#makePort(request, mark, isRight ? mtuLines(mark, mtu) : attachLines(vpc, mark, mtu));
    });
  }

  detach(container: ContainerId, keepVpc = false): Promise<void> {
    return this.#turns.take(async () => {
      const isKnown = [...this.#memory.all.values()].some((model) => portsOf(model).has(portName(container)));
      // Where something failed nothing is known any more.
      if (!isKnown) await this.#lookAtUnknown([...(await this.#kernel.pins()).keys()]);
      for (const [vpc, model] of [...this.#memory.all]) {
        const ports = portsOf(model);
        const mark = ports.get(portName(container))?.mark;
        if (mark?.container !== container) continue;
        if (ports.size === 1 && !keepVpc) await this.#remove([vpc]);
        else await this.#removePort(vpc, model, mark);
      }
    });
  }

  transitOf(vpc: VpcId): Ip | undefined {
    return this.#memory.transits.get(vpc);
  }

  transits(): ReadonlyMap<VpcId, Ip> {
    return new Map(this.#memory.transits);
  }

  namespaceOf(vpc: VpcId): string {
    return join(this.#kernel.folder, pinOf(vpc));
  }

  close(): Promise<void> {
    return this.#turns.close();
  }

  async #converge(network: () => HostNetwork, looksMax: number, signal: AbortSignal | undefined): Promise<OverlayOutcome> {
    const outcome: Outcome = { changed: new Set(), missing: [], failed: new Map() };
    const here = await this.#turns.take(() => this.#convergeHost(network(), looksMax > 0));
    await this.#inParts(here, VPCS_AT_ONCE, signal, (some) => this.#removeUnwanted(network(), some, outcome));
    const ids = network().vpcs.map(({ id }) => id);
    await this.#inParts(this.#memory.longestUnseen(ids).slice(0, looksMax), LOOKS_AT_ONCE, signal, async (some) => {
      for (const vpc of some) this.#memory.forget(vpc);
      await this.#lookAtUnknown(some);
    });
    await this.#inParts(ids, VPCS_AT_ONCE, signal, (some) => {
      const { underlay, vpcs } = network();
      return this.#convergeVpcs(
        underlay,
        vpcs.filter(({ id }) => some.includes(id)),
        outcome,
      );
    });
    return { changed: [...outcome.changed], missing: outcome.missing, failed: [...outcome.failed].map(([vpc, error]) => ({ vpc, error })) };
  }

  /** A turn for each part: what is attached meanwhile comes between two. */
  async #inParts(vpcs: readonly VpcId[], size: number, signal: AbortSignal | undefined, work: (some: readonly VpcId[]) => Promise<void>): Promise<void> {
    for (let at = 0; at < vpcs.length; at += size) {
      signal?.throwIfAborted();
      const some = vpcs.slice(at, at + size);
      await this.#turns.take(() => work(some));
    }
  }

  /** The host's own namespace; gives the VPCs that are here, wanted or not. */
  async #convergeHost({ vpcs }: HostNetwork, isLooking: boolean): Promise<readonly VpcId[]> {
    if (!isLooking) return [...this.#memory.transits.keys()];
    await this.#look([]);
    const here = [...(await this.#kernel.pins()).keys()];
    const transits = new Set([...here, ...vpcs.map(({ id }) => id)].map(transitName));
    const error = (await this.#kernel.apply([{ vpc: "host", plan: planHost(this.#memory.host, transits) }])).get("host");
    if (error !== undefined) throw error;
    return here;
  }

  async #removeUnwanted({ vpcs }: HostNetwork, here: readonly VpcId[], outcome: Outcome): Promise<void> {
    const unwanted = here.filter((vpc) => !vpcs.some(({ id }) => id === vpc));
    for (const [vpc, error] of await this.#remove(unwanted)) outcome.failed.set(vpc, error);
    for (const vpc of unwanted) outcome.changed.add(vpc);
  }

  async #convergeVpcs(underlay: Underlay, vpcs: readonly VpcNetwork[], outcome: Outcome): Promise<void> {
    const failed = await this.#make(underlay, vpcs, (vpc, seen) => sortPorts(vpc, seen, vpcMtu(underlay)).attached, outcome.changed);
    for (const [vpc, error] of failed) outcome.failed.set(vpc, error);
    for (const vpc of vpcs) {
      const model = this.#memory.of(vpc.id);
      if (model !== undefined) for (const port of sortPorts(vpc, model, vpcMtu(underlay)).missing) outcome.missing.push({ vpc: vpc.id, port });
    }
  }

  /** All but its ports: these stay as they are, also one that the caller does not know of. */
  async #ensure(underlay: Underlay, vpc: VpcNetwork): Promise<VpcModel> {
    const failed = await this.#make(underlay, [vpc], (_, seen) => [...portsOf(seen).values()]);
    const error = failed.get(vpc.id);
    if (error !== undefined) throw error;
    const model = this.#memory.of(vpc.id);
    if (model === undefined) throw new CcError("INTERNAL", `VPC ${vpc.id} was made and cannot be found`);
    return model;
  }

  /** Makes them what they are to be; gives what failed of them. */
  async #make(underlay: Underlay, vpcs: readonly VpcNetwork[], portsThatStay: PortsThatStay, changed?: Set<VpcId>): Promise<ReadonlyMap<VpcId, CcError>> {
    let failed = new Map<VpcId, CcError>();
    let left = vpcs;
    for (let attempt = 0; attempt < TRIES && left.length > 0; attempt += 1) {
      const { plans, refused } = await this.#plan(underlay, left, portsThatStay);
      failed = refused;
      // Nothing is known of what is under way, should it be cut off.
      for (const { vpc } of plans) this.#memory.forget(vpc);
      const notApplied = await this.#kernel.apply(plans);
      for (const { vpc, plan, wanted } of plans) {
        const error = notApplied.get(vpc);
        if (error === undefined) this.#memory.remember(vpc, wanted);
        else failed.set(vpc, error);
        if (plan.length > 0) changed?.add(vpc);
      }
      left = left.filter(({ id }) => failed.has(id));
    }
    return failed;
  }

  async #plan(underlay: Underlay, vpcs: readonly VpcNetwork[], portsThatStay: PortsThatStay) {
    const plans: { readonly vpc: VpcId; readonly plan: Plan; readonly wanted: VpcModel }[] = [];
    const refused = new Map<VpcId, CcError>();
    const pinned = await this.#lookAtUnknown(vpcs.map(({ id }) => id));
    const taken = this.#memory.takenTransits();
    for (const vpc of vpcs) {
      const seen = this.#memory.of(vpc.id) ?? (pinned.has(vpc.id) ? undefined : absentVpc(vpc.id, this.#memory.host));
      if (seen === undefined) {
        refused.set(vpc.id, new CcError("INTERNAL", `the network namespace of VPC ${vpc.id} cannot be read`));
        continue;
      }
      const address = transitFor(this.#range, transitName(vpc.id), seen, taken);
      if (address === undefined) {
        refused.set(vpc.id, new CcError("NO_ROOM", `no address of ${formatCidr(this.#range)} is left for VPC ${vpc.id} on this host`));
        continue;
      }
      taken.set(formatIp(address), transitName(vpc.id));
      const wanted = wantedVpc(underlay, vpc, { range: this.#range, address }, portsThatStay(vpc, seen));
      plans.push({ vpc: vpc.id, plan: planVpc(vpc.id, pinned.has(vpc.id), seen, wanted), wanted });
    }
    return { plans, refused };
  }

  /** The second attempt takes away what an earlier one left half-made, here or in the container's namespace. */
  async #makePort({ underlay, vpc, namespacePath }: AttachRequest, mark: PortMark, lines: AttachLines): Promise<void> {
    let problem: string | undefined;
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const model = this.#memory.of(vpc.id) ?? (await this.#ensure(underlay, vpc));
      this.#memory.forget(vpc.id);
      const script = { vpc: vpc.id, namespacePath };
      problem =
        attempt === 0
          ? await this.#kernel.port({ ...script, lines })
          : await this.#kernel.portAnew({ ...script, lines: attachLines(vpc, mark, vpcMtu(underlay)) });
      if (problem === undefined) return this.#memory.remember(vpc.id, withPort(model, vpc.id, { mark, mtu: vpcMtu(underlay) }));
    }
    throw new CcError("INTERNAL", `container ${mark.container} cannot be attached to VPC ${vpc.id}: ${problem}`);
  }

  async #removePort(vpc: VpcId, model: VpcModel, mark: PortMark): Promise<void> {
    this.#memory.forget(vpc);
    const failed = await this.#kernel.apply([{ vpc, plan: [{ at: "vpc", tool: "ip", lines: detachLines(vpc, mark, model) }] }]);
    // It may have gone with the container's namespace before: the next to come looks.
    if (failed.size === 0) this.#memory.remember(vpc, withoutPort(model, vpc, mark));
  }

  /** Gives those that are still there. */
  async #remove(vpcs: readonly VpcId[]): Promise<ReadonlyMap<VpcId, CcError>> {
    const left = new Map<VpcId, CcError>();
    const pinned = await this.#lookAtUnknown(vpcs);
    const plans = vpcs.map((vpc) => ({ vpc, plan: planRemoval(pinned.has(vpc), this.#memory.of(vpc) ?? absentVpc(vpc, this.#memory.host)) }));
    for (const vpc of vpcs) this.#memory.forget(vpc);
    const failed = await this.#kernel.apply(plans);
    for (const vpc of vpcs) {
      const isThere = await this.#kernel.isPinned(vpc);
      if (isThere) left.set(vpc, failed.get(vpc) ?? new CcError("INTERNAL", `the network namespace of VPC ${vpc} is there again`));
      else {
        await this.#kernel.forget(vpc);
        this.#memory.gone(vpc);
      }
    }
    return left;
  }

  /** What is known is taken for what is. Gives which of them have a namespace. */
  async #lookAtUnknown(vpcs: readonly VpcId[]): Promise<ReadonlySet<VpcId>> {
    const unknown = vpcs.filter((vpc) => !this.#memory.has(vpc));
    const pinned: VpcId[] = [];
    for (const vpc of unknown) if (await this.#kernel.isPinned(vpc)) pinned.push(vpc);
    for (let at = 0; at < pinned.length; at += LOOKS_AT_ONCE) await this.#look(pinned.slice(at, at + LOOKS_AT_ONCE));
    return new Set([...vpcs.filter((vpc) => !unknown.includes(vpc)), ...pinned]);
  }

  async #look(vpcs: readonly VpcId[]): Promise<OverlaySeen> {
    const seen = await this.#kernel.observe(vpcs);
    this.#memory.saw(vpcs, seen);
    return seen;
  }

  /** Refused: what is no network namespace, and the host's own, whose devices are nobody's to change. */
  async #namespaceAt(path: string): Promise<number> {
    const found = await stat(path).catch((error: unknown) => {
      throw new CcError("NOT_FOUND", `there is no network namespace at ${path}`, { cause: error });
    });
    if (found.ino === this.#ownNamespace) throw new CcError("CONFLICT", `the network namespace at ${path} is the host's own; nothing was attached`);
    return found.ino;
  }
}
