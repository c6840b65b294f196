import type { ContainerId } from "../base/index.ts";

export type RestartPolicy = "no" | "on-failure" | "always";

/** What one container is to be, complete: every default filled in, every value checked. Sizes in bytes, times in ms. */
export type ContainerSpec = {
  readonly id: ContainerId;
  readonly name: string;
  readonly image: string;
  /** Replaces the image's command (its entrypoint stays), as in `docker run IMAGE CMD`. Empty: the image's own. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** `name`, `uid`, `name:group`, `uid:gid`; empty: the image's. */
  readonly user: string;
  /** Working directory, made when missing; empty: the image's. */
  readonly dir: string;
  readonly memoryBytes: number;
  /** 1024 = one core's weight. */
  readonly cpuShares: number;
  readonly diskBytes: number;
  readonly pidsMax: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly restart: RestartPolicy;
  readonly readOnly: boolean;
  readonly init: boolean;
  /** `SIGTERM` and the like; empty: the image's, else SIGTERM. */
  readonly stopSignal: string;
  readonly stopTimeoutMs: number;
  readonly logFileBytes: number;
  readonly logFiles: number;
  readonly stdinOpen: boolean;
};
