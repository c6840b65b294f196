import { toBinary } from "@bufbuild/protobuf";
import { type RecordFrame, RecordFrameSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { asCcError, type Clock, isContainerId, isVolumeId, type Logger, type PeerId, sleep } from "../../../src/base/index.ts";
import { sha256 } from "../../../src/identity/index.ts";
import { parseRecordKey, type RecordFiles, type Replica, type StoredRecord, type View } from "../../../src/state/index.ts";
import { placeOf } from "../../../src/vpc/index.ts";

/** Long enough for a command that is over at once to be gone again. */
const SETTLE_MS = 1_000;
const KINDS: ReadonlySet<string> = new Set(["container", "volume", "claim", "wanted", "vpc"]);

export type BesideParts = {
  readonly self: PeerId;
  readonly files: RecordFiles;
  readonly replica: Pick<Replica, "list" | "onChange">;
  readonly view: Pick<View, "container" | "containers" | "volume" | "volumes" | "recordsOf">;
  /** Containers and volumes that lie on this host. */
  readonly here: () => Promise<ReadonlySet<string>>;
  readonly clock: Clock;
  readonly log: Logger;
};

/**
 * What was asked for, the VPC that a container is in, and this host's word that it holds it, in files beside its containers and mounted volumes: a lone host
 * that has lost its store goes on with them. A volume that was never mounted may be handed on, and has nothing to lose.
 */
export function createRecordsBeside(parts: BesideParts): {
  /** Of what lies on this host. */
  load(): Promise<readonly RecordFrame[]>;
  /** Keeps the files as the records are, until aborted. Never rejects. */
  keep(signal: AbortSignal): Promise<void>;
} {
  const { self, files, replica, view, clock, log } = parts;

  const isHeld = (id: string): boolean => {
    if (isContainerId(id)) {
      const container = view.container(id);
      return container !== undefined && !container.gone && container.best?.holder === self;
    }
    const volume = isVolumeId(id) ? view.volume(id) : undefined;
    return volume !== undefined && !volume.gone && volume.holder === self && volume.state === "mounted";
  };

  const isKnown = (id: string): boolean => (isContainerId(id) ? view.container(id) : isVolumeId(id) ? view.volume(id) : undefined) !== undefined;

  const framesOf = (id: string): readonly RecordFrame[] => {
    const container = isContainerId(id) ? view.container(id) : undefined;
    const vpc = container === undefined ? undefined : placeOf(container)?.vpc;
    const records = view.recordsOf(vpc === undefined ? [id] : [id, vpc]).filter((record) => KINDS.has(parseRecordKey(record.key)?.kind ?? ""));
    const writers = new Set(records.map(({ writer }) => writer));
    return [...[...writers].flatMap((writer) => certificateOf(replica, writer)), ...records].map(({ frame }) => frame);
  };

  return {
    load: async () => {
      const here = await parts.here();
      return [...(await files.load())].flatMap(([id, frames]) => (here.has(id) ? frames : []));
    },
    keep: async (signal) => {
      const saved = new Map<string, string>();
      const changed = new Set<string>([...view.containers().map(({ id }) => id), ...view.volumes().map(({ id }) => id)]);
      const unsubscribe = replica.onChange((records) => {
        for (const { key } of records) {
          const { kind, id } = parseRecordKey(key) ?? {};
          if (kind !== undefined && id !== undefined && KINDS.has(kind)) changed.add(id);
        }
      });
      const save = async (id: string): Promise<void> => {
        if (!isHeld(id)) {
          // What lies here and no record names is what the file is for.
          if (!saved.has(id) || (!isKnown(id) && (await parts.here()).has(id))) return;
          await files.remove(id);
          saved.delete(id);
          return;
        }
        const frames = framesOf(id);
        const digest = digestOf(frames);
        if (saved.get(id) === digest) return;
        await files.save(id, frames);
        saved.set(id, digest);
      };
      try {
        for (const [id, frames] of await files.load()) {
          saved.set(id, digestOf(frames));
          changed.add(id);
        }
        let failing = false;
        while (!signal.aborted) {
          const ids = [...changed];
          changed.clear();
          let failed = false;
          for (const id of ids) {
            await save(id).catch((error: unknown) => {
              if (!failing && !failed) log.warn({ id, error: asCcError(error) }, "a record could not be saved beside what it is about; it is tried again");
              failed = true;
              changed.add(id);
            });
          }
          failing = failed;
          await sleep(clock, SETTLE_MS, signal);
        }
      } catch (error) {
        if (!signal.aborted) log.error({ error: asCcError(error) }, "records are no longer saved beside what they are about");
      } finally {
        unsubscribe();
      }
    },
  };
}

function certificateOf(replica: Pick<Replica, "list">, writer: PeerId): readonly StoredRecord[] {
  return replica.list(`host/${writer}/`).filter(({ key }) => key.endsWith("/certificate/self"));
}

function digestOf(frames: readonly RecordFrame[]): string {
  return Buffer.from(sha256(Buffer.concat(frames.map((frame) => toBinary(RecordFrameSchema, frame))))).toString("base64");
}
