import { fromBinary } from "@bufbuild/protobuf";
import { type Records, RecordsSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import { CcError, type PeerId } from "../base/index.ts";
import type { Verifier } from "../identity/index.ts";
import type { GossipVerdict, Mesh } from "../mesh/index.ts";
import { answerReconciliation, checkReconciliation, MESSAGE_BYTES_MAX } from "./reconcile.ts";
import { frameBytes, isSigned, readFrame } from "./record.ts";
import type { RecordIndex } from "./record-index.ts";

/** Frames of one message: more than 512 KiB of the smallest records has. */
const FRAMES_MAX = 4_096;
const FETCH_KEYS_MAX = 256;

export type ExchangeParts = {
  readonly index: RecordIndex;
  /** Resolves when what was new is fsynced; gives how many of the frames this host holds now, or newer ones. */
  readonly hold: (frames: readonly RecordFrame[], from: PeerId) => Promise<number>;
};

/** Answers other hosts' calls about records. */
export function serveRecords(mesh: Pick<Mesh, "handle">, parts: ExchangeParts): void {
  mesh.handle("putRecords", async ({ frames }, from) => ({ stored: await parts.hold(bounded(frames), from) }));
  mesh.handle("reconcile", async (message, from) => {
    const checked = checkReconciliation(message);
    if (!checked.ok) throw new CcError(checked.code, checked.message);
    if (message.frames.length > 0) await parts.hold(bounded(message.frames), from);
    const answer = answerReconciliation(parts.index, message);
    return { ranges: answer.ranges.map(({ items, ...range }) => ({ ...range, items: [...items] })), frames: [...answer.frames], wanted: [...answer.wanted] };
  });
  mesh.handle("fetchRecords", async ({ keys }) => ({ frames: framesAt(parts.index, keys) }));
}

/** Frames at these keys, every stamp of each, as many as fit into one message. */
function framesAt(index: RecordIndex, keys: readonly string[]): RecordFrame[] {
  if (keys.length > FETCH_KEYS_MAX) throw new CcError("TOO_LARGE", `at most ${FETCH_KEYS_MAX} keys can be asked for at once`);
  const frames: RecordFrame[] = [];
  let bytes = 0;
  for (const key of keys) {
    // `"` follows `!` in the order of characters: the key itself and its stamps, nothing else.
    for (let { start, end } = index.span(key, `${key}"`); start < end; start += 1) {
      const frame = index.shared(index.at(start).id)?.frame;
      if (frame === undefined) continue;
      bytes += frameBytes(frame);
      if (bytes > MESSAGE_BYTES_MAX) return frames;
      frames.push(frame);
    }
  }
  return frames;
}

/** Undefined: not a message of records. */
export function decodeGossip(data: Uint8Array): Records | undefined {
  try {
    const records = fromBinary(RecordsSchema, data);
    return records.frames.length <= FRAMES_MAX ? records : undefined;
  } catch {
    return undefined; // Nobody's fault that can be proven: ignored by the caller.
  }
}

/**
 * What gossip is told about a message with frames that failed the frozen rules. Passing on is no offence: only what the
 * neighbour itself signed is scored against it, and never a frame version that we do not know.
 */
export function gossipVerdict(frames: readonly RecordFrame[], dropped: number, from: PeerId, verifier: Verifier): GossipVerdict {
  if (dropped === 0) return "accept";
  for (const frame of frames) {
    const read = readFrame(frame);
    // Of a frame version that is not known no writer is read.
    if (read.ok || read.writer !== from) continue;
    if (isSigned(frame, from, verifier)) return "reject";
  }
  return "ignore";
}

function bounded(frames: readonly RecordFrame[]): readonly RecordFrame[] {
  if (frames.length > FRAMES_MAX) throw new CcError("TOO_LARGE", `at most ${FRAMES_MAX} records can be sent at once`);
  return frames;
}
