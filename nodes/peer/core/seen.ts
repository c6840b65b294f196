import type { Addressing } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { isPeerId, type Logger, type PeerId } from "../../../src/base/index.ts";
import type { Mesh } from "../../../src/mesh/index.ts";
import { compareVersions, isRecordKey, type ReplicaService } from "../../../src/state/index.ts";

const SEEN_MAX = 32;
const FETCH_MS = 1_000;

/**
 * What the caller itself wrote a moment ago at another peer is fetched before it is answered, so that everybody reads their
 * own writes at whichever peer. A writer that cannot be asked is left out: the answer then says how old it may be.
 */
export async function catchUp(
  parts: { readonly mesh: Mesh; readonly replica: ReplicaService; readonly log: Logger },
  to: Addressing | undefined,
): Promise<void> {
  const missing = new Map<PeerId, string[]>();
  for (const { key, versionMajor, versionMinor, host } of (to?.seen ?? []).slice(0, SEEN_MAX)) {
    if (!isRecordKey(key) || !isPeerId(host) || host === parts.mesh.self) continue;
    const known = parts.replica.get(key);
    if (known !== undefined && (known.final || compareVersions(known.version, { major: versionMajor, minor: versionMinor }) >= 0)) continue;
    missing.set(host, [...(missing.get(host) ?? []), key]);
  }
  await Promise.all(
    [...missing].map(async ([host, keys]) => {
      try {
        const reply = await parts.mesh.call(host, "fetchRecords", { keys }, { timeoutMs: FETCH_MS });
        await parts.replica.take(reply.frames, host);
      } catch (error) {
        parts.log.debug({ host, err: error }, "a record that a caller has seen could not be fetched");
      }
    }),
  );
}
