import { create, type DescMethodUnary, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Mesh as MeshService } from "../../api/gen/cc/v1/mesh_pb.ts";
import { CcError, type PeerId } from "../../base/index.ts";
import { toWire, wireErrorBytes, wireErrorFrom } from "../call-errors.ts";
import { decodeLaneReply, decodeLaneRequest, encodeLaneReply, encodeLaneRequest } from "../lane-frames.ts";
import type { CallOptions, CallReply, CallRequestInit, FrameStream, MeshCall } from "../mesh.ts";

export const LANE_PROTOCOL = "/cc/lane/1";
/** Unanswered calls to one peer: probes come one at a time, more than a few means that nobody answers. */
const WAITING_MAX = 16;

/** Calls that go by the light lane: small ones that are made for ever, even when nothing happens. */
export const LIGHT_CALLS: ReadonlySet<MeshCall> = new Set<MeshCall>(["observe"]);

/**
 * A kept frame stream for probes. As gRPC a probe cost 4 to 9 ms of CPU on an idle peer (HTTP/2 over a stream made in
 * JavaScript, code that is cold each time), more than everything else together; here a tenth. The messages are those of
 * the contract, and what has something to do stays gRPC.
 */
export type LightLane = {
  call<C extends MeshCall>(peer: PeerId, name: C, request: CallRequestInit<C>, options: CallOptions): Promise<CallReply<C>>;
  /** Answers what comes on a stream that a peer opened, until it ends. */
  serve(stream: FrameStream): Promise<void>;
  drop(peer?: PeerId): void;
};

export type LightLaneParts = {
  readonly openStream: (peer: PeerId) => Promise<FrameStream>;
  /** The handler of any call, as the contract's messages. */
  readonly answer: (name: MeshCall, request: unknown, from: PeerId) => Promise<object>;
  readonly answered: (peer: PeerId) => void;
};

type Waiter = { readonly resolve: (body: Uint8Array) => void; readonly reject: (error: unknown) => void };
type Lane = { readonly stream: FrameStream; readonly waiting: Map<number, Waiter> };

const isLight = (name: string): name is MeshCall => (LIGHT_CALLS as ReadonlySet<string>).has(name);

export function createLightLane({ openStream, answer, answered }: LightLaneParts): LightLane {
  const lanes = new Map<PeerId, Promise<Lane>>();
  let lastNumber = 0;

  const laneTo = (peer: PeerId): Promise<Lane> => {
    const kept = lanes.get(peer);
    if (kept !== undefined) return kept;
    const opening = openStream(peer).then((stream): Lane => ({ stream, waiting: new Map() }));
    lanes.set(peer, opening);
    const forget = (): void => {
      if (lanes.get(peer) === opening) lanes.delete(peer);
    };
    opening.then((lane) => read(lane).finally(forget), forget);
    return opening;
  };

  /** Hands out replies until the stream ends; then nothing that waits will be answered. */
  const read = async (lane: Lane): Promise<void> => {
    try {
      for await (const frame of lane.stream.frames()) {
        const reply = decodeLaneReply(frame);
        const waiter = lane.waiting.get(reply.number);
        lane.waiting.delete(reply.number);
        if (reply.ok) waiter?.resolve(reply.body);
        else waiter?.reject(wireErrorFrom(reply.body));
      }
    } catch (error) {
      lane.stream.abort(error);
    }
    for (const waiter of lane.waiting.values()) waiter.reject(new CcError("PEER_UNREACHABLE", "the connection to the peer ended"));
    lane.waiting.clear();
  };

  return {
    call(peer, name, request, options) {
      const what = `${name} at ${peer}`;
      return new Promise((resolve, reject) => {
        let lane: Lane | undefined;
        lastNumber = (lastNumber + 1) % 0x1_0000_0000;
        const number = lastNumber;
        const done = (settle: () => void): void => {
          clearTimeout(timer);
          options.signal?.removeEventListener("abort", onAbort);
          lane?.waiting.delete(number);
          settle();
        };
        const onAbort = (): void => done(() => reject(new CcError("CANCELLED", `${what} was cancelled`)));
        const timer = setTimeout(() => done(() => reject(new CcError("TIMEOUT", `${what}: no answer within ${options.timeoutMs} ms`))), options.timeoutMs);
        options.signal?.addEventListener("abort", onAbort, { once: true });
        if (options.signal?.aborted === true) return onAbort();
        const method: DescMethodUnary = MeshService.method[name];
        const body = toBinary(method.input, create(method.input, request));
        laneTo(peer)
          .then((opened) => {
            lane = opened;
            if (opened.waiting.size >= WAITING_MAX) throw new CcError("RATE_LIMITED", `${what}: ${WAITING_MAX} calls wait already`);
            opened.waiting.set(number, {
              resolve: (bytes) => {
                answered(peer);
                done(() => resolve(fromBinary(method.output, bytes) as CallReply<typeof name>));
              },
              reject: (error) => done(() => reject(error)),
            });
            return opened.stream.send(encodeLaneRequest({ number, name, body }));
          })
          .catch((error: unknown) =>
            done(() =>
              reject(
                error instanceof CcError && error.code !== "CANCELLED"
                  ? error
                  : new CcError("PEER_UNREACHABLE", `${what}: there is no connection to the peer`, { cause: error }),
              ),
            ),
          );
      });
    },
    async serve(stream) {
      // One after another: a peer that asks faster than it is answered is slowed down by its own stream.
      for await (const frame of stream.frames()) {
        const { number, name, body } = decodeLaneRequest(frame);
        let reply: { ok: boolean; body: Uint8Array };
        try {
          if (!isLight(name)) throw new CcError("NOT_YET", `this peer does not answer ${name} on the light lane`);
          const method: DescMethodUnary = MeshService.method[name];
          const given = await answer(name, fromBinary(method.input, body), stream.peer);
          reply = { ok: true, body: toBinary(method.output, create(method.output, { ...given })) };
        } catch (error) {
          reply = { ok: false, body: wireErrorBytes(toWire(error)) };
        }
        await stream.send(encodeLaneReply({ number, ...reply }));
      }
    },
    drop(peer) {
      for (const [key, opening] of lanes) {
        if (peer !== undefined && key !== peer) continue;
        lanes.delete(key);
        opening.then(
          (lane) => lane.stream.abort(new Error("dropped")),
          () => undefined,
        ); // its opening failed: its callers were told
      }
    },
  };
}
