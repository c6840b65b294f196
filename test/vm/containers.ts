import { readFile } from "node:fs/promises";
import { type ContainerId, formatIp, type Ip } from "../../src/base/index.ts";
import type { ContainerNetworks, ContainerSpec, CrunConmon } from "../../src/containers/index.ts";
import { type Scene as ContainerScene, newId, outputOf } from "../host/containers/harness.ts";
import { ip, type TestVpc } from "../host/vpc/harness.ts";
import type { Mesh, MeshHost } from "./mesh.ts";
import { check } from "./report.ts";

/** An emulated machine takes its time. */
const STEP_MS_MAX = 120_000;

type Place = { readonly own: MeshHost; readonly address: Ip };

/** Joins containers of the real runtime to the VPC on one of the scene's hosts. */
export class VpcOfTest implements ContainerNetworks {
  readonly #vpc: TestVpc;
  readonly #places = new Map<ContainerId, Place>();
  readonly #joined = new Map<ContainerId, string>();
  mesh: Mesh | undefined;

  constructor(vpc: TestVpc) {
    this.#vpc = vpc;
  }

  /** Before it starts: everybody knows where it is. */
  place(id: ContainerId, own: MeshHost, address: string): void {
    this.#places.set(id, { own, address: ip(address) });
    own.host.local.set(this.#vpc.id, [...(own.host.local.get(this.#vpc.id) ?? []), { container: id, address: ip(address) }]);
  }

  namespaceOf(id: string): string {
    return this.#joined.get(id as ContainerId) ?? "";
  }

  members(): readonly ContainerId[] {
    return [...this.#joined.keys()];
  }

  async join(id: ContainerId, namespacePath: string) {
    const place = this.#places.get(id);
    if (place === undefined || this.mesh === undefined) return undefined;
    const { own, address } = place;
    this.#joined.set(id, namespacePath);
    await own.tunnel.follow(this.mesh.tunnelWanted(own));
    const { underlay, vpcs } = this.mesh.planned(own).network;
    const vpc = vpcs.find((one) => one.id === this.#vpc.id);
    if (vpc === undefined) throw new TypeError("the plan lacks the VPC");
    await own.host.overlay.attach({ underlay, vpc, port: { container: id, address }, namespacePath });
    await this.mesh.follow();
    return { address: formatIp(address), nameservers: [], search: [], ready: Promise.resolve() };
  }

  async leave(id: ContainerId): Promise<void> {
    const place = this.#places.get(id);
    this.#places.delete(id);
    this.#joined.delete(id);
    if (place === undefined || this.mesh === undefined) return;
    const { own } = place;
    const left = (own.host.local.get(this.#vpc.id) ?? []).filter(({ container }) => container !== id);
    if (left.length > 0) own.host.local.set(this.#vpc.id, left);
    else own.host.local.delete(this.#vpc.id);
    await own.host.overlay.detach(id);
    await this.mesh.follow();
  }
}

export type Ended = { readonly exitCode: number | undefined; readonly oom: boolean; readonly stdout: string };

export class Containers {
  readonly #runtime: CrunConmon;
  readonly #scene: ContainerScene;
  readonly #networks: VpcOfTest;

  constructor(runtime: CrunConmon, scene: ContainerScene, networks: VpcOfTest) {
    this.#runtime = runtime;
    this.#scene = scene;
    this.#networks = networks;
  }

  /** A container that runs a shell line, in the VPC where `at` says so. */
  async start(script: string, at?: { readonly own: MeshHost; readonly address: string }, more: Partial<ContainerSpec> = {}): Promise<ContainerId> {
    const id = newId();
    if (at !== undefined) this.#networks.place(id, at.own, at.address);
    const spec = this.#scene.spec(id, { command: ["sh", "-c", script], ...more });
    await this.#runtime.start(spec, this.#scene.image, "t1", AbortSignal.timeout(STEP_MS_MAX));
    return id;
  }

  /** To its end; then it is removed. */
  async finish(id: ContainerId): Promise<Ended> {
    const exit = await this.#runtime.waitExit(id, AbortSignal.timeout(STEP_MS_MAX));
    const { stdout } = await outputOf(this.#runtime, id);
    await this.#runtime.remove(id);
    return { exitCode: exit?.exitCode, oom: exit?.oom ?? false, stdout };
  }

  async run(script: string, more: Partial<ContainerSpec> = {}): Promise<Ended> {
    return await this.finish(await this.start(script, undefined, more));
  }
}

const MEMORY = 64 * 1024 ** 2;

/** Limits are those of cgroups of version 2: what the kernel says of them, and what it does. */
export async function checkCgroups(containers: Containers): Promise<void> {
  const controllers = await readFile("/sys/fs/cgroup/cgroup.controllers", "utf8").catch(() => "");
  check("cgroups are of version 2, with memory and processes", /\bmemory\b/.test(controllers) && /\bpids\b/.test(controllers), controllers);
  const limits = await containers.run("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.swap.max /sys/fs/cgroup/pids.max", { memoryBytes: MEMORY });
  check("a container's memory limit is seen from inside", limits.stdout.split("\n")[0] === String(MEMORY), JSON.stringify(limits));
  const small = await containers.run("head -c 30000000 /dev/zero | tail -c 30000000 | wc -c", { memoryBytes: MEMORY });
  check("30 MB fit into 64 MiB", small.exitCode === 0 && small.stdout.trim() === "30000000", JSON.stringify(small));
  const large = await containers.run("exec tail -c 200000000 /dev/zero", { memoryBytes: MEMORY });
  check("an endless process is killed at 64 MiB, and the runtime says why", large.oom && large.exitCode === 137, JSON.stringify(large));
}
