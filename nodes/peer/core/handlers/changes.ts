import type { RecordFrame } from "../../../../src/api/gen/cc/v1/records_pb.ts";
import type { Caller } from "../../../../src/api/index.ts";
import { asCcError, CcError, type ContainerId, isContainerId, isZone, type PeerId } from "../../../../src/base/index.ts";
import { type ContainerView, hostKey, isHostKey, parseRecordKey, type StoredRecord, userKey } from "../../../../src/state/index.ts";
import { isInUse, placeOf } from "../../../../src/vpc/index.ts";
import type { AskAround } from "../ask-around.ts";
import { readRun } from "../run-requests.ts";
import { awaitContainers } from "./await-phase.ts";
import { type ItemErrorInit, withNotAsked } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { findContainers } from "./reads.ts";
import { mustHaveToken, requestDraft, toWritten, type WrittenInit } from "./writes.ts";

const CONTAINERS_MAX = 1_000;
/** How long a change waits for its effect to be seen; `cc` gives up waiting for the answer at 20 s. */
const WAIT_MS_MAX = 15_000;
const KILL_MARGIN_MS = 3_000;
const GONE_WAIT_MS = 5_000;
const PUT_MS = 3_000;

/** What a change is about. */
type Target = Pick<ContainerView, "id" | "zone">;
type Outcome = { done: string[]; errors: ItemErrorInit[]; wrote: WrittenInit[]; copies: number; notAsked: string[]; pending: string[] };

const RUNNING = new Set(["claimed", "pulling", "starting", "running", "stopping", "backoff"]);
const isRunning = (container: ContainerView): boolean => container.best !== undefined && RUNNING.has(container.phase?.phase ?? "claimed");
const hasStopped = (container: ContainerView | undefined): boolean => container === undefined || container.gone || !isRunning(container);

/** Stop and remove need nobody; start and restart need the holder, which fsyncs the run token before any of it is acknowledged. */
export function changeHandlers(parts: HandlerParts, askAround: AskAround): Some<"stop" | "start" | "restart" | "remove"> {
  const { replica, view, liveness, mesh } = parts;

  const looked = async (ids: readonly string[], token: string): Promise<{ outcome: Outcome; containers: ContainerView[]; absent: ItemErrorInit[] }> => {
    mustHaveToken(token);
    if (ids.length === 0 || ids.length > CONTAINERS_MAX) throw new CcError("BAD_REQUEST", `name 1 to ${CONTAINERS_MAX} containers`);
    const bad = ids.find((id) => !isContainerId(id));
    if (bad !== undefined) throw new CcError("BAD_REQUEST", `"${bad}" is not a container's id; Resolve gives the id of a name`);
    const { found, notAsked } = await findContainers(parts, askAround, [...new Set(ids)]);
    const outcome: Outcome = { done: [], errors: [], wrote: [], copies: 0, notAsked: [...notAsked], pending: [] };
    const containers = found.flatMap((one) => ("container" in one ? [one.container] : []));
    const absent = found.flatMap((one) => ("error" in one ? [withNotAsked(one.error, notAsked)] : []));
    return { outcome, containers, absent };
  };

  const wantedKey = (container: Target) => userKey(isZone(container.zone) ? container.zone : undefined, "wanted", container.id);

  const writeAll = async (outcome: Outcome, containers: readonly Target[], caller: Caller, final: boolean, signal: AbortSignal): Promise<void> => {
    if (containers.length === 0) return;
    const drafts = containers.map((container) => requestDraft(wantedKey(container), caller, final));
    const written = await replica.write(drafts, { signal });
    acknowledged(outcome, containers, written.records, written.copies);
  };

  const acknowledged = (outcome: Outcome, containers: readonly Target[], records: readonly StoredRecord[], copies: number): void => {
    outcome.done.push(...containers.map(({ id }) => id));
    outcome.wrote.push(...records.map(toWritten));
    outcome.copies = outcome.copies === 0 ? copies : Math.min(outcome.copies, copies);
  };

  /** Without what has ended in a VPC that is gone by now: nothing is attached to it any more. */
  const withVpc = (containers: readonly ContainerView[], outcome: Outcome): readonly ContainerView[] =>
    containers.filter((container) => {
      const place = isInUse(container) ? undefined : placeOf(container);
      const vpc = place === undefined ? undefined : view.vpc(place.vpc);
      if (vpc?.gone !== true) return true;
      outcome.errors.push({ item: container.id, code: "NOT_FOUND", message: `its VPC ${vpc.name} was deleted; run it anew in another` });
      return false;
    });

  /** Holder first: a start that is acknowledged is on the disk of the one host that acts on it. */
  const writeAtHolders = async (outcome: Outcome, containers: readonly ContainerView[], caller: Caller, signal: AbortSignal): Promise<void> => {
    const byHolder = Map.groupBy(containers, (container) => container.best?.holder);
    for (const [holder, held] of byHolder) {
      if (holder === undefined) {
        for (const { id } of held)
          outcome.errors.push({
            item: id,
            code: "HOST_UNREACHABLE",
            message: `the host that had ${id} is no longer in the mesh; remove it with cc rm and run it again`,
          });
      } else if (holder === parts.self) await writeAll(outcome, held, caller, false, signal);
      else await writeAt(holder, outcome, held, caller);
    }
  };

  /** How many it has on its disk. One that has not heard of this host yet keeps what this host stamped in memory only: it is told. */
  const putAt = async (holder: PeerId, frames: readonly RecordFrame[]): Promise<number> => {
    const { stored } = await mesh.call(holder, "putRecords", { frames: [...frames] }, { timeoutMs: PUT_MS });
    if (stored >= frames.length) return stored;
    const certificate = replica.get(hostKey(parts.self, parts.zone, "certificate", "self"));
    if (certificate === undefined) return stored;
    const again = await mesh.call(holder, "putRecords", { frames: [certificate.frame, ...frames] }, { timeoutMs: PUT_MS });
    return again.stored - 1;
  };

  const writeAt = async (holder: PeerId, outcome: Outcome, held: readonly ContainerView[], caller: Caller): Promise<void> => {
    const fail = (code: string, message: string): void => void outcome.errors.push(...held.map(({ id }) => ({ item: id, code, message })));
    const name = view.members().find((member) => member.peer === holder)?.name ?? holder;
    if (liveness.of(holder).standing === "unreachable" || !mesh.connected().includes(holder)) {
      return fail("HOST_UNREACHABLE", `its host ${name} cannot be reached, and it alone can start it; try again when it is back`);
    }
    const stamped = await Promise.all(held.map((container) => replica.stamp(requestDraft(wantedKey(container), caller))));
    const frames = stamped.map((record) => record.frame);
    try {
      const stored = await putAt(holder, frames);
      if (stored < frames.length) return fail("OUTCOME_UNKNOWN", `${name} has not stored it; try again`);
    } catch (error) {
      return fail("OUTCOME_UNKNOWN", `whether ${name} will start it is not known (${asCcError(error).message}); try again`);
    }
    await replica.take(frames, parts.self);
    acknowledged(outcome, held, stamped, 2);
  };

  /**
   * Not listed, yet there are records of it, and no removal that this host stamped. Its create may count no more while a host
   * has it still; or the removal that is known is another host's stamp, which a liar may take back. Done is done: it is stamped here.
   */
  const unlisted = (items: readonly ItemErrorInit[]): readonly Target[] =>
    items.flatMap(({ item: id }) => {
      if (!isContainerId(id)) return [];
      const [record, ...others] = view.recordsOf([id]);
      if (record === undefined || [record, ...others].some(isOwnTombstone)) return [];
      return [{ id, zone: parseRecordKey(record.key)?.zone ?? "" }];
    });
  const isOwnTombstone = ({ final, writer, key }: StoredRecord): boolean => final && writer === parts.self && !isHostKey(key);

  const reachable = (container: ContainerView): boolean => {
    const holder = container.best?.holder;
    return holder !== undefined && (holder === parts.self || liveness.of(holder).standing !== "unreachable");
  };

  const stopTimeoutMs = (container: ContainerView, askedMs: number): number => {
    if (askedMs > 0) return askedMs;
    const read = readRun(container.request);
    return read.ok ? read.value.spec.stopTimeoutMs : 0;
  };

  return {
    stop: async (request, { caller, signal }) => {
      const { outcome, containers, absent } = await looked(request.containers, request.token);
      outcome.errors.push(...absent);
      await writeAll(outcome, containers, caller, false, signal);
      const here = containers.filter(reachable);
      const waitMs = Math.min(WAIT_MS_MAX, KILL_MARGIN_MS + Math.max(0, ...here.map((container) => stopTimeoutMs(container, request.timeoutMs))));
      await awaitContainers(parts, ids(here), hasStopped, waitMs, signal);
      outcome.pending.push(...ids(here).filter((id) => !hasStopped(view.container(id))));
      return outcome;
    },

    start: async (request, { caller, signal }) => {
      const { outcome, containers, absent } = await looked(request.containers, request.token);
      outcome.errors.push(...absent);
      // What runs already is started: the same twice is the same. Of a host that is silent nobody knows.
      const idle = withVpc(containers, outcome).filter((container) => !isRunning(container) || container.wanted?.kind === "stopped" || !reachable(container));
      outcome.done.push(...ids(containers.filter((container) => !idle.includes(container) && !outcome.errors.some(({ item }) => item === container.id))));
      await writeAtHolders(outcome, idle, caller, signal);
      return outcome;
    },

    restart: async (request, { caller, signal }) => {
      const { outcome, containers, absent } = await looked(request.containers, request.token);
      outcome.errors.push(...absent);
      await writeAtHolders(outcome, withVpc(containers, outcome), caller, signal);
      return outcome;
    },

    remove: async (request, { caller, signal }) => {
      const { outcome, containers, absent } = await looked(request.containers, request.token);
      const removedToo = unlisted(absent);
      outcome.done.push(...absent.flatMap(({ item }) => (removedToo.some(({ id }) => id === item) ? [] : [item])));
      const busy = request.force ? [] : containers.filter((container) => isRunning(container) && reachable(container));
      for (const { id, name } of busy)
        outcome.errors.push({ item: id, code: "CONFLICT", message: `${name || id} is running; stop it first with cc stop, or remove it with cc rm --force` });
      const removed = containers.filter((container) => !busy.includes(container));
      await writeAll(outcome, [...removed, ...removedToo], caller, true, signal);
      await awaitContainers(
        parts,
        ids(removed.filter(reachable)),
        (container) => container === undefined || container.phase?.phase === "gone",
        GONE_WAIT_MS,
        signal,
      );
      return outcome;
    },
  };
}

const ids = (containers: readonly ContainerView[]): ContainerId[] => containers.map(({ id }) => id);
