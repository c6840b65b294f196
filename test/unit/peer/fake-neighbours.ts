import type { RecordFrame } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { CcError, type PeerId } from "../../../src/base/index.ts";
import type { Mesh } from "../../../src/mesh/index.ts";
import { peerId } from "../identity/fixtures.ts";

export type Asked = {
  readonly peer: PeerId;
  readonly call: string;
  readonly request: { readonly ids?: readonly string[]; readonly names?: readonly string[]; readonly keys?: readonly string[] };
};

/** Neighbours that answer with frames, or are silent; every call is noted. */
export class FakeNeighbours {
  readonly asked: Asked[] = [];
  readonly answers = new Map<PeerId, readonly RecordFrame[]>();
  readonly handlers = new Map<string, (request: never, from: PeerId, signal: AbortSignal) => Promise<unknown>>();

  readonly mesh: Mesh = {
    self: peerId("peer 1"),
    connected: () => [...this.answers.keys()],
    onConnection: () => () => undefined,
    publish: () => undefined,
    subscribe: () => () => undefined,
    call: async (peer, call, request) => {
      this.asked.push({ peer, call, request: request as Asked["request"] });
      const frames = this.answers.get(peer);
      if (frames === undefined) throw new CcError("PEER_UNREACHABLE", `no connection to ${peer}`);
      return { frames } as never;
    },
    handle: (call, handler) => void this.handlers.set(call, handler as never),
    openStream: async () => {
      throw new CcError("PEER_UNREACHABLE", "no streams here");
    },
    handleStreams: () => undefined,
    disconnect: async () => undefined,
  };
}
