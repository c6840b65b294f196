import { create } from "@bufbuild/protobuf";
import { BidMessageSchema } from "../../src/api/gen/cc/v1/mesh_pb.ts";
import { RecordFrameSchema } from "../../src/api/gen/cc/v1/records_pb.ts";
import type { PeerId } from "../../src/base/index.ts";
import { VERSION_MAX } from "./forger.ts";
import type { SimulatedHost } from "./host.ts";
import type { SeededRandom } from "./random.ts";
import type { World } from "./world.ts";

/** The calls that a stolen host answers as it likes. */
export type LyingAnswer = "observe" | "askBid" | "awardContainer" | "reconcile" | "askAround";

/** Puts lies in the place of what this life of the host says to calls of this kind. */
export function twistAnswer(
  { world, host, random }: { readonly world: World; readonly host: SimulatedHost; readonly random: SeededRandom },
  kind: LyingAnswer,
): void {
  const mesh = host.life?.mesh;
  const honest = mesh?.handlerOf(kind);
  if (mesh === undefined || honest === undefined) return;
  const never = (): Promise<never> => new Promise(() => undefined);
  const lies: Readonly<Record<typeof kind, (request: never, from: PeerId, signal: AbortSignal) => Promise<object>>> = {
    observe: async (request, from, signal) => {
      const said = (await honest(request, from, signal)) as object;
      const opinions = world.hosts.flatMap((other) =>
        other.identity === undefined || other === host ? [] : [{ peer: other.peer, startNumber: VERSION_MAX, incarnation: VERSION_MAX }],
      );
      return { ...said, opinions, withholds: false, timeMs: host.time.wallMs + 86_400_000, highestStartOfYours: VERSION_MAX, digest: random.bytes(32) };
    },
    askBid: async (request) => {
      const { requestId, container } = request as { requestId: string; container: string };
      const bid = { requestId, answer: { kind: "bid", price: -1e9, terms: {} }, validForMs: 2_000 };
      const other = {
        requestId,
        answer: { kind: random.pick(["have-it", "at-work", "name-taken", "name-held", "nonsense"]) ?? "" },
        holder: host.peer,
        epoch: 3,
        otherId: container,
      };
      return create(BidMessageSchema, random.chance(0.5) ? bid : other);
    },
    awardContainer: async (request, from, signal) => {
      const dice = random.below(4);
      if (dice === 0) return never();
      if (dice === 1) return { taken: true, frames: [] };
      if (dice === 2) return { taken: false, code: "NO_ROOM", reason: "no", signedDecline: new Uint8Array(3), signature: new Uint8Array(64) };
      return (await honest(request, from, signal)) as object;
    },
    reconcile: async () => ({
      ranges: [{ from: "", to: "", count: 1, digest: random.bytes(32), listed: false, items: [] }],
      frames: [],
      wanted: ["admin/", "host/"],
    }),
    askAround: async () => ({ frames: [create(RecordFrameSchema, { frame: 1, payload: random.bytes(50), signature: random.bytes(64) })] }),
  };
  mesh.handle(kind, lies[kind] as never);
}
