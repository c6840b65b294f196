import { ok, type PeerId, type Result, refuse, type VolumeId, type VpcId } from "../base/index.ts";

/** What a container asks of the host that takes it, already checked. Sizes in bytes; 1024 shares are one core's weight. */
export type Requirements = {
  /** Unique among live containers; empty: none was given, and nobody is asked to hold one. */
  readonly name: string;
  readonly image: string;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly cpuShares: number;
  /** The container's labels: hosts that carry the same ones are preferred, none is excluded. */
  readonly labels: Readonly<Record<string, string>>;
  /** Peer id or name of the one host that may take it; empty: any. */
  readonly host: string;
  /** Empty: any. */
  readonly zone: string;
  /** Volumes that it mounts, each once: all have to be on its host. */
  readonly volumes: readonly VolumeId[];
  /** The network that it is part of; undefined: the default one of the zone that it comes to. */
  readonly vpc: VpcId | undefined;
  /** Ports that are published on its host, as the user wrote them, each of the right form. */
  readonly publish: readonly string[];
  /** They are published on every host of its zone. */
  readonly publishEverywhere: boolean;
};

/** What one container takes from a host for as long as its claim counts. It always takes one of the host's places too. */
export type Needs = { readonly memoryBytes: number; readonly diskBytes: number; readonly cpuShares: number };

/** An admitted host as its facts record describes it. */
export type KnownHost = { readonly peer: PeerId; readonly name: string; readonly zone: string };

export function needsOf(asked: Requirements): Needs {
  return { memoryBytes: asked.memoryBytes, diskBytes: asked.diskBytes, cpuShares: asked.cpuShares };
}

/** Whether a host is one of those asked for: what requester and host decide alike, without knowing the host's load. */
export function isAskedFor(asked: Requirements, host: KnownHost): Result<true> {
  if (asked.host !== "" && asked.host !== host.peer && asked.host !== host.name) return refuse("NO_ROOM", `the container is to run on host ${asked.host} only`);
  if (asked.zone !== "" && asked.zone !== host.zone) return refuse("NO_ROOM", `the container is to run in zone ${asked.zone}, this host is in ${host.zone}`);
  return ok(true);
}
