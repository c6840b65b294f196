import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ContainerStateSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import type { Role } from "../../../../src/api/index.ts";
import { formatIp } from "../../../../src/base/index.ts";
import { standingPorts } from "../../../../src/ports/index.ts";
import type { ContainerView } from "../../../../src/state/index.ts";
import { placeOf } from "../../../../src/vpc/index.ts";
import { readRun, seesSecrets } from "../run-requests.ts";
import { type ForwardedPort, saidOf } from "./forwards.ts";
import type { HandlerParts } from "./parts.ts";

export type ContainerStateInit = MessageInitShape<typeof ContainerStateSchema>;

/** A container as users see it: what its records say, how old that may be, and what its host's router said. Env values for operators only. */
export function containerState(
  parts: Pick<HandlerParts, "view" | "liveness" | "self" | "clock">,
  container: ContainerView,
  role: Role,
  forwards?: readonly ForwardedPort[],
): ContainerStateInit {
  const read = readRun(container.request);
  const spec = read.ok ? read.value.spec : undefined;
  const holder = container.best?.holder;
  const member = parts.view.members().find(({ peer }) => peer === holder);
  const seen = holder === undefined ? undefined : parts.liveness.of(holder);
  const { phase } = container;
  const place = placeOf(container);
  return {
    id: container.id,
    name: container.name,
    image: spec?.image ?? "",
    imageDigest: phase?.imageDigest ?? "",
    phase: holder === undefined ? "lost" : (phase?.phase ?? "claimed"),
    wanted: container.wanted?.kind ?? "running",
    host: holder ?? "",
    hostName: member?.name ?? "",
    zone: member?.zone ?? container.zone,
    address: place === undefined ? "" : formatIp(place.address),
    ...(phase?.exitCode === undefined ? {} : { exitCode: phase.exitCode }),
    reason: phase?.reason ?? "",
    restarts: phase?.restarts ?? 0,
    createdAtMs: container.createdAtMs,
    startedAtMs: phase?.startedAtMs ?? 0,
    endedAtMs: phase?.endedAtMs ?? 0,
    command: [...(spec?.command ?? [])],
    labels: { ...spec?.labels },
    env: seesSecrets(role) ? { ...spec?.env } : {},
    memoryBytes: spec?.memoryBytes ?? 0,
    cpuShares: spec?.cpuShares ?? 0,
    diskBytes: spec?.diskBytes ?? 0,
    hostReachable: holder === parts.self || (seen !== undefined && seen.standing !== "unreachable"),
    heardAtMs: holder === parts.self ? parts.clock.nowMs() : (seen?.heardAtMs ?? 0),
    restart: spec?.restart ?? "no",
    epoch: container.best?.epoch ?? 0,
    vpc: place?.vpc ?? "",
    ports: standingPorts([container]).map(({ hostAddress: ip, hostPort, containerPort, protocol, everywhere }) => {
      const port = { hostAddress: ip === undefined ? "" : formatIp(ip), hostPort, port: containerPort, protocol, everywhere };
      return forwards === undefined ? port : { ...port, ...saidOf(forwards, port) };
    }),
    vpcName: place === undefined ? "" : (parts.view.vpc(place.vpc)?.name ?? ""),
  };
}
