import { create, toBinary } from "@bufbuild/protobuf";
import { RecordsSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import type { RecordFrame } from "../api/gen/cc/v1/records_pb.ts";
import type { Clock } from "../base/index.ts";
import { type Mesh, RECORDS_TOPIC } from "../mesh/index.ts";
import { frameBytes } from "./record.ts";

const GATHER_MS = 20;
const GOSSIP_BYTES_MAX = 512 * 1024;
/** What gathers within 20 ms at most: gossipsub has no back-pressure. What has no room is brought by repair. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/** Deltas on their way out: those of the same 20 ms travel in one message, because a message costs each host a millisecond. */
export class Spread {
  readonly #mesh: Pick<Mesh, "publish">;
  readonly #clock: Clock;
  #frames: RecordFrame[] = [];
  #bytes = 0;
  #cancel: (() => void) | undefined;

  constructor(mesh: Pick<Mesh, "publish">, clock: Clock) {
    this.#mesh = mesh;
    this.#clock = clock;
  }

  add(frames: readonly RecordFrame[]): void {
    for (const frame of frames) {
      if (this.#bytes + frameBytes(frame) > WAITING_BYTES_MAX) break;
      this.#bytes += frameBytes(frame);
      this.#frames.push(frame);
    }
    if (this.#frames.length > 0) this.#cancel ??= this.#clock.after(GATHER_MS, () => this.#send());
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#frames = [];
    this.#bytes = 0;
  }

  #send(): void {
    this.#cancel = undefined;
    const waiting = this.#frames;
    this.#frames = [];
    this.#bytes = 0;
    for (const frames of chunksOf(waiting, GOSSIP_BYTES_MAX)) this.#mesh.publish(RECORDS_TOPIC, toBinary(RecordsSchema, create(RecordsSchema, { frames })));
  }
}

/** Cuts into messages of at most `bytesMax`, one frame each at least. */
export function chunksOf(frames: readonly RecordFrame[], bytesMax: number): RecordFrame[][] {
  const chunks: RecordFrame[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const frame of frames) {
    if (bytes + frameBytes(frame) > bytesMax) {
      chunks.push([]);
      bytes = 0;
    }
    chunks.at(-1)?.push(frame);
    bytes += frameBytes(frame);
  }
  return chunks;
}
