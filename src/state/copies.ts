import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import { asCcError, type Logger, type PeerId, type Random, sample } from "../base/index.ts";
import type { Liveness, Mesh } from "../mesh/index.ts";
import { MESSAGE_BYTES_MAX } from "./reconcile.ts";
import { chunksOf } from "./spread.ts";

/** A host that has not fsynced within this long is passed over for another. */
const COPY_CALL_MS_MAX = 1_000;
const HOSTS_ASKED_MAX = 4;

export type CopyParts = {
  readonly mesh: Pick<Mesh, "call" | "connected">;
  readonly liveness: Pick<Liveness, "reachable">;
  readonly random: Random;
  readonly log: Logger;
};

/** Asks one more host after another to fsync these frames. The host that did, or undefined: there is none, or none answered. */
export async function askForCopy(frames: readonly RecordFrame[], parts: CopyParts, signal: AbortSignal): Promise<PeerId | undefined> {
  const connected = new Set(parts.mesh.connected());
  const hosts = sample(
    parts.random,
    parts.liveness.reachable().filter((peer) => connected.has(peer)),
    HOSTS_ASKED_MAX,
  );
  for (const host of hosts) {
    try {
      if (await copyTo(host, frames, parts, signal)) return host;
    } catch (error) {
      if (signal.aborted) return undefined;
      parts.log.debug({ host, code: asCcError(error).code }, "no copy from this host, the next is asked");
    }
  }
  return undefined;
}

async function copyTo(host: PeerId, frames: readonly RecordFrame[], parts: CopyParts, signal: AbortSignal): Promise<boolean> {
  for (const chunk of chunksOf(frames, MESSAGE_BYTES_MAX)) {
    const { stored } = await parts.mesh.call(host, "putRecords", { frames: chunk }, { timeoutMs: COPY_CALL_MS_MAX, signal });
    // It may not know our certificate yet: then it holds them in memory only, which is no copy.
    if (stored < chunk.length) return false;
  }
  return true;
}
