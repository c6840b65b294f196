import { create, toBinary } from "@bufbuild/protobuf";
import { type Phase, PhaseSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { type ContainerId, isErrorCode, type Logger, type PeerId, type VolumeId, type Zone } from "../../../src/base/index.ts";
import type { Desired, DesiredContainers, PhaseName, PhaseReport, Wanted } from "../../../src/containers/index.ts";
import type { GiveWay, Holding, Placement } from "../../../src/placement/index.ts";
import { type ContainerView, type CountedClaim, compareVersions, hostKey, type ReplicaService, type View } from "../../../src/state/index.ts";
import type { PhaseBoard, PhaseNow } from "../phase-board.ts";
import { readRun } from "./run-requests.ts";

export type DesiredParts = {
  readonly self: PeerId;
  readonly zone: Zone;
  readonly view: View;
  readonly replica: ReplicaService;
  readonly mayStart: Placement["holder"]["mayStart"];
  /** Throws CcError when this host may not, or cannot, serve one of them. */
  readonly volumesReady: (volumes: readonly VolumeId[]) => Promise<void>;
  readonly board: PhaseBoard;
  readonly log: Logger;
};

const PHASES: ReadonlySet<string> = new Set<PhaseName>([
  "claimed",
  "pulling",
  "starting",
  "running",
  "stopping",
  "backoff",
  "ended",
  "failed",
  "yielded",
  "gone",
]);

/**
 * What the records say that this host's containers should be: the link between state and supervisor. A container is in it
 * as long as this host has a claim on it that is not over.
 */
export function createDesired(parts: DesiredParts): DesiredContainers & GiveWay & { readonly stop: () => void } {
  const { self, zone, view, replica, board } = parts;
  const listeners = new Set<() => void>();
  let known: readonly Desired[] | undefined;
  // A view's container is made anew when a record about it has changed, and at no other time.
  let made = new WeakMap<ContainerView, Desired | "unreadable">();

  const unsubscribe = replica.onChange(() => {
    known = undefined;
    for (const fire of listeners) fire();
  });

  const ownClaim = (id: ContainerId): CountedClaim | undefined => view.container(id)?.claims.find(({ holder }) => holder === self);
  const isOverHere = (claim: CountedClaim | undefined): boolean => claim?.phase?.phase === "gone" || claim?.phase?.phase === "yielded";
  const phaseOf = (id: ContainerId): Phase | undefined => ownClaim(id)?.phase;

  const desiredOf = (container: ContainerView): Desired | undefined => {
    const desired = made.get(container) ?? readDesired(container) ?? "unreadable";
    made.set(container, desired);
    return desired === "unreadable" ? undefined : desired;
  };

  const readDesired = (container: ContainerView): Desired | undefined => {
    const read = readRun(container.request);
    if (!read.ok) {
      parts.log.error(
        { container: container.id, code: read.code },
        "a container claimed here has a request that this version cannot read; it is left as it is",
      );
      return undefined;
    }
    const { message, spec } = read.value;
    const phase = container.claims.find(({ holder }) => holder === self)?.phase;
    const digest = phase?.imageDigest ?? "";
    const version = container.wanted?.version ?? { major: 0, minor: 0 };
    // A stamp from a clock that was ahead is hidden again once the clock is right: what was answered is not taken back for an
    // older wish, or its token would start a second time.
    const answered = phase === undefined ? version : { major: phase.wantedMajor, minor: phase.wantedMinor };
    const isOlder = phase !== undefined && compareVersions(version, answered) < 0;
    return {
      spec,
      image: {
        reference: spec.image,
        ...(digest === "" ? {} : { digest }),
        ...(message.registryUser === "" ? {} : { credentials: { user: message.registryUser, password: message.registryPassword } }),
      },
      wanted: oncePerToken(wantedOf(container, read.value.asked.token, isOlder ? phase : undefined), phase),
      version: isOlder ? answered : version,
    };
  };

  /** A retry of a wish that was acted on, stamped after a newer one, is the same wish: what came after it goes on. */
  const oncePerToken = (wanted: Wanted, phase: Phase | undefined): Wanted =>
    wanted.kind === "running" && phase?.earlierRunTokens.includes(wanted.runToken) === true ? { kind: "running", runToken: phase.runToken } : wanted;

  /** `newer`: what this host said in answer to a later wish than the one that is known now. */
  const wantedOf = (container: ContainerView, firstToken: string, newer: Phase | undefined): Wanted => {
    if (container.wanted?.kind === "removed") return { kind: "removed", as: "gone", timeoutMs: 0 };
    const { wanted, best } = container;
    if (best !== undefined && best.holder !== self) return { kind: "removed", as: "yielded", timeoutMs: 0 };
    if (newer !== undefined) {
      const stops = newer.phase === "stopping" || (newer.phase === "ended" && newer.reason === "stopped");
      return stops ? { kind: "stopped", timeoutMs: undefined } : { kind: "running", runToken: newer.runToken || firstToken };
    }
    if (wanted?.kind === "stopped") return { kind: "stopped", timeoutMs: wanted.timeoutMs > 0 ? wanted.timeoutMs : undefined };
    return { kind: "running", runToken: wanted?.kind === "running" ? wanted.token : firstToken };
  };

  return {
    all() {
      known ??= view
        .claimsOf(self)
        .filter((claim) => !isOverHere(claim))
        .flatMap(({ id }) => view.container(id) ?? [])
        .flatMap((container) => desiredOf(container) ?? []);
      return known;
    },
    isOver: (id) => view.isGone(id) || isOverHere(ownClaim(id)),
    onChange(fire) {
      listeners.add(fire);
      return () => listeners.delete(fire);
    },
    lastPhase(id) {
      const phase = phaseOf(id);
      return phase === undefined ? undefined : toReport(phase);
    },
    async report(id, report) {
      // Watchers on this host first: output must not wait for the disk.
      board.set(id, toBoard(report));
      const epoch = ownClaim(id)?.epoch ?? 0;
      const content = toBinary(PhaseSchema, create(PhaseSchema, toMessage(id, epoch, report)));
      await replica.write([{ key: hostKey(self, zone, "phase", id), content, final: report.phase === "gone" }], { copies: 1 });
    },
    mayStart: async (id) => {
      if (!parts.mayStart(id).ok) return false;
      const container = view.container(id);
      const volumes = container === undefined ? [] : (desiredOf(container)?.spec.volumes ?? []);
      await parts.volumesReady(volumes.map((mount) => mount.id));
      // The disk may have taken its time.
      return parts.mayStart(id).ok;
    },
    async giveWay(id: ContainerId, to: Holding) {
      // The records say so already: the supervisor finds it in `all`, stops the container and reports `yielded`.
      parts.log.info({ container: id, to: to.holder, epoch: to.epoch }, "another host holds it now");
      known = undefined;
      made = new WeakMap();
      for (const fire of listeners) fire();
    },
    stop: unsubscribe,
  };
}

function toMessage(id: ContainerId, epoch: number, report: PhaseReport) {
  return {
    container: id,
    epoch,
    phase: report.phase,
    reason: report.reason,
    ...(report.exitCode === undefined ? {} : { exitCode: report.exitCode }),
    restarts: report.restarts,
    changedAtMs: report.changedAtMs,
    startedAtMs: report.startedAtMs,
    endedAtMs: report.endedAtMs,
    imageDigest: report.imageDigest,
    runToken: report.runToken,
    earlierRunTokens: [...report.earlierRunTokens],
    wantedMajor: report.wanted.major,
    wantedMinor: report.wanted.minor,
  };
}

function toReport(phase: Phase): PhaseReport {
  return {
    phase: isPhaseName(phase.phase) ? phase.phase : "claimed",
    reason: phase.reason,
    exitCode: phase.exitCode,
    restarts: phase.restarts,
    changedAtMs: phase.changedAtMs,
    startedAtMs: phase.startedAtMs,
    endedAtMs: phase.endedAtMs,
    imageDigest: phase.imageDigest,
    runToken: phase.runToken,
    earlierRunTokens: phase.earlierRunTokens,
    wanted: { major: phase.wantedMajor, minor: phase.wantedMinor },
  };
}

/** `reason` begins with the code when it failed: the code decides cc's exit status, the sentence is for the user. */
export function toBoard(report: PhaseReport): PhaseNow {
  const match = report.phase === "failed" ? /^([A-Z_]+): (.*)$/s.exec(report.reason) : null;
  const code = match?.[1];
  return {
    phase: report.phase,
    exitCode: report.exitCode,
    reason: match?.[2] ?? report.reason,
    failure: code !== undefined && isErrorCode(code) ? code : undefined,
    startedAtMs: report.startedAtMs,
    progress: "",
  };
}

function isPhaseName(text: string): text is PhaseName {
  return PHASES.has(text);
}
