import type { Clock, Logger, ShellHelper } from "../../../base/index.ts";
import type { UserNamespacePin } from "../../../host/index.ts";
import type { ContainerVolumes } from "../../../volumes/index.ts";
import type { ContainerNetworks } from "../../networks.ts";

export type CrunConmonSettings = {
  /** Kept over reboots: disks, logs, what was started. Absolute. */
  readonly stateDir: string;
  /** Gone with a reboot (tmpfs): bundles, mounts, crun's own state. Absolute; short, mounts and sockets lie below. */
  readonly runDir: string;
  /** Cgroup below which each container has its own, for example `/cc`. Each peer of a machine needs its own. */
  readonly cgroupParent: string;
  /** For resolv.conf of what is part of no VPC; empty: names of the internet are not resolved. */
  readonly nameservers: readonly string[];
  readonly crunPath?: string;
  readonly conmonPath?: string;
  /** A static init for `--init`. */
  readonly initPath?: string;
  readonly seccompProfilePath?: string;
};

export type CrunConmonDeps = {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The user namespace that all containers of the host share. */
  readonly userNamespace: UserNamespacePin;
  /** Three kept shells, so that the disk of one container, the network of another and a third's start go side by side. */
  readonly disk: ShellHelper;
  readonly network: ShellHelper;
  readonly process: ShellHelper;
  readonly volumes: ContainerVolumes;
  readonly networks: ContainerNetworks;
};

export const DEFAULT_PATHS = {
  crunPath: "/usr/bin/crun",
  conmonPath: "/usr/bin/conmon",
  initPath: "/usr/bin/catatonit",
  seccompProfilePath: "/usr/share/containers/seccomp.json",
} as const;

/** Every path of the driver, in one place. */
export class Paths {
  readonly #stateDir: string;
  readonly runDir: string;

  constructor(stateDir: string, runDir: string) {
    this.#stateDir = stateDir;
    this.runDir = runDir;
  }

  get stateDir(): string {
    return this.#stateDir;
  }
  /** crun's `--root`. */
  get crunRoot(): string {
    return `${this.runDir}/.crun`;
  }
  get exits(): string {
    return `${this.runDir}/.exits`;
  }
  get wrapper(): string {
    return `${this.runDir}/.crun-wrapper`;
  }
  /** Names this life of the run folder: another one means that the machine was restarted. */
  get life(): string {
    return `${this.runDir}/.life`;
  }
  /** What a fresh disk contains: u, w (the overlay's) and etc. */
  get diskTemplate(): string {
    return `${this.runDir}/.disk`;
  }
  get spareNetwork(): string {
    return `${this.runDir}/.spare-net`;
  }
  /** Beside the containers' folders: it becomes a disk by its name alone. */
  get spareDisk(): string {
    return `${this.#stateDir}/.spare-disk`;
  }
  get freshSpareDisk(): string {
    return `${this.#stateDir}/.spare-disk.new`;
  }
  get seccompCache(): string {
    return `${this.runDir}/.seccomp`;
  }

  /** A folder for each exec, as long as it lasts. */
  get execs(): string {
    return `${this.runDir}/.execs`;
  }

  state(id: string): string {
    return `${this.#stateDir}/${id}`;
  }
  stored(id: string): string {
    return `${this.state(id)}/container.json`;
  }
  diskImage(id: string): string {
    return `${this.state(id)}/disk.img`;
  }
  /** A disk that is still being formatted: no disk yet. */
  freshDisk(id: string): string {
    return `${this.state(id)}/disk.new`;
  }
  log(id: string): string {
    return `${this.state(id)}/log`;
  }

  bundle(id: string): string {
    return `${this.runDir}/${id}`;
  }
  disk(id: string): string {
    return `${this.bundle(id)}/disk`;
  }
  rootfs(id: string): string {
    return `${this.bundle(id)}/rootfs`;
  }
  network(id: string): string {
    return `${this.bundle(id)}/net`;
  }
  conmonPid(id: string): string {
    return `${this.bundle(id)}/conmon.pid`;
  }
  containerPid(id: string): string {
    return `${this.bundle(id)}/ctr.pid`;
  }
  trafficBefore(id: string): string {
    return `${this.bundle(id)}/disk.stat`;
  }
  exit(id: string): string {
    return `${this.exits}/${id}`;
  }
}
