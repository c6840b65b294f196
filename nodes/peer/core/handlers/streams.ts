import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Addressing } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { type StreamOpen, StreamOpenSchema } from "../../../../src/api/gen/cc/v1/mesh_pb.ts";
import { type Caller, Channel, type ContainerStreamCall, encodeJsonFrame, type FrameChannel } from "../../../../src/api/index.ts";
import { asCcError, CcError, type ContainerId, isContainerId, type PeerId } from "../../../../src/base/index.ts";
import type { FrameStream } from "../../../../src/mesh/index.ts";
import { relay } from "../../streams/relay.ts";
import type { AskAround } from "../ask-around.ts";
import type { PeerStream } from "../images/serve-blobs.ts";
import { catchUp } from "../seen.ts";
import { withNotAsked } from "./item-error.ts";
import type { HandlerParts } from "./parts.ts";
import { findContainers } from "./reads.ts";

const OPEN_MS = 3_000;

/** One kind of byte stream, as the host that has the container serves it. */
export type ContainerStream = {
  /** What the user signed: the container's id or name, and the writes that the caller has seen. Throws BAD_REQUEST when the body is not this call's. */
  asked(caller: Caller): { readonly container: string; readonly to?: Addressing | undefined };
  serve(id: ContainerId, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void>;
};

export type Streams = {
  /** To the container that the user named, wherever it is. */
  toNamed(call: ContainerStreamCall, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void>;
  /** To a container whose host is known. */
  toHolder(holder: PeerId, call: ContainerStreamCall, id: ContainerId, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void>;
};

/**
 * Byte streams about containers: served here for those that are here, passed on with the user's own request for the others.
 * `between` are the streams that hosts open for themselves, by call.
 */
export function containerStreams(
  parts: HandlerParts,
  kinds: Readonly<Record<ContainerStreamCall, ContainerStream>>,
  between: Readonly<Record<string, PeerStream>>,
  askAround: AskAround,
): Streams {
  const { mesh, view, liveness } = parts;

  mesh.handleStreams(async (opening, stream) => {
    const open = readOpening(opening);
    const serveOpen = serving(open, stream);
    const gone = new AbortController();
    try {
      await serveOpen(gone.signal);
    } catch (thrown) {
      // The accepting peer only carries frames: what went wrong has to be one.
      const error = asCcError(thrown);
      await stream.send(encodeJsonFrame(Channel.event, { type: "error", code: error.code, message: error.message }));
    } finally {
      await stream.end();
      gone.abort(new CcError("CANCELLED", "the stream is over"));
    }
  });

  /** What an opening asks for. Throws BAD_REQUEST where it is none that a host sends. */
  function serving(open: StreamOpen, stream: FrameStream): (signal: AbortSignal) => Promise<void> {
    const own = Object.hasOwn(between, open.call) ? between[open.call] : undefined;
    if (own !== undefined) return (signal) => own(open, stream, signal);
    const { call, container, request } = open;
    if (!isContainerId(container) || request === undefined || !isKind(call)) throw new CcError("BAD_REQUEST", "this stream is none that a host opens");
    return async (signal) => {
      const caller = await parts.authenticator.passedOn(call, request, stream.peer, "stream", container);
      await serve(call, container, caller, stream, signal);
    };
  }

  function isKind(call: string): call is ContainerStreamCall {
    return Object.hasOwn(kinds, call);
  }

  /** At the container's host. Which container it is the user says, not the peer in between. */
  async function serve(call: ContainerStreamCall, id: ContainerId, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    const named = kinds[call].asked(caller).container;
    if (named !== id && named !== view.container(id)?.name) throw new CcError("UNAUTHENTICATED", `the request was signed for another container, ${named}`);
    return kinds[call].serve(id, caller, channel, signal);
  }

  async function toHolder(
    holder: PeerId,
    call: ContainerStreamCall,
    id: ContainerId,
    caller: Caller,
    channel: FrameChannel,
    signal: AbortSignal,
  ): Promise<void> {
    if (holder === parts.self) return serve(call, id, caller, channel, signal);
    const name = view.members().find((member) => member.peer === holder)?.name ?? holder;
    if (liveness.of(holder).standing === "unreachable")
      throw new CcError("HOST_UNREACHABLE", `its host ${name} cannot be reached, and the container is there only`);
    const opening = toBinary(StreamOpenSchema, create(StreamOpenSchema, { call, request: caller.signed, container: id }));
    const stream = await mesh.openStream(holder, opening, { timeoutMs: OPEN_MS, signal });
    return relay(channel, stream, signal);
  }

  return {
    toHolder,
    toNamed: async (call, caller, channel, signal) => {
      const { container: item, to } = kinds[call].asked(caller);
      await catchUp(parts, to);
      const { found, notAsked } = await findContainers(parts, askAround, [item]);
      const [one] = found;
      if (one === undefined || "error" in one) {
        const error = one === undefined ? { item, code: "NOT_FOUND", message: "" } : withNotAsked(one.error, notAsked);
        throw new CcError(error.code === "NAME_AMBIGUOUS" ? "NAME_AMBIGUOUS" : "NOT_FOUND", error.message);
      }
      const holder = one.container.best?.holder;
      if (holder === undefined) throw new CcError("HOST_UNREACHABLE", `the host that had ${one.container.id} is no longer in the mesh`);
      return toHolder(holder, call, one.container.id, caller, channel, signal);
    },
  };
}

function readOpening(bytes: Uint8Array): StreamOpen {
  try {
    return fromBinary(StreamOpenSchema, bytes);
  } catch (error) {
    throw new CcError("BAD_REQUEST", "a stream's opening is not a StreamOpen", { cause: error });
  }
}
