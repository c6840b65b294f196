import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type AttachRequest, AttachRequestSchema, type LogsRequest, LogsRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { type StreamOpen, StreamOpenSchema } from "../../../../src/api/gen/cc/v1/mesh_pb.ts";
import { type Caller, Channel, decodeBody, encodeJsonFrame, type FrameChannel, type StreamCall } from "../../../../src/api/index.ts";
import { asCcError, assertNever, CcError, type ContainerId, isContainerId, type PeerId } from "../../../../src/base/index.ts";
import { containerIdOf, type PlacementOutcome } from "../../../../src/placement/index.ts";
import { must } from "../../founding.ts";
import { type OutputParts, serveAttached, serveLogs } from "../../streams/output.ts";
import { relay } from "../../streams/relay.ts";
import type { AskAround } from "../ask-around.ts";
import { type RunRead, readRun } from "../run-requests.ts";
import { catchUp } from "../seen.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { findContainers, withNotAsked } from "./reads.ts";
import { toWritten } from "./writes.ts";

const OPEN_MS = 3_000;

export type RunHandlers = Some<"run"> & { readonly stream: (call: StreamCall, caller: Caller, channel: FrameChannel, signal: AbortSignal) => Promise<void> };

/** Runs, and the byte streams of what runs, wherever it runs. */
export function runHandlers(parts: HandlerParts, output: OutputParts, askAround: AskAround): RunHandlers {
  const { mesh, placement, view, liveness } = parts;

  const placed = async (read: RunRead, caller: Caller, signal: AbortSignal): Promise<PlacementOutcome> =>
    placement.requester.place(read.asked, caller.signed, signal);

  mesh.handleStreams(async (opening, stream) => {
    const { call, container, request } = readOpening(opening);
    if (!isContainerId(container) || request === undefined || (call !== "Run" && call !== "Logs" && call !== "Attach"))
      throw new CcError("BAD_REQUEST", "this stream is none that a host opens");
    const gone = new AbortController();
    try {
      const caller = await parts.authenticator.passedOn(call, request, stream.peer, "stream", container);
      await serve(call, container, caller, stream, gone.signal);
    } catch (thrown) {
      // The accepting peer only carries frames: what went wrong has to be one.
      const error = asCcError(thrown);
      await stream.send(encodeJsonFrame(Channel.event, { type: "error", code: error.code, message: error.message }));
    } finally {
      await stream.end();
      gone.abort(new CcError("CANCELLED", "the stream is over"));
    }
  });

  /** At the container's host. */
  async function serve(call: StreamCall, id: ContainerId, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    switch (call) {
      case "Run": {
        const { asked, spec } = must(readRun(caller.signed));
        if (containerIdOf(asked.key, asked.token) !== id) throw new CcError("BAD_REQUEST", "the request is another container's");
        return serveAttached(output, id, spec.stdinOpen, channel, signal);
      }
      case "Attach": {
        const { container, stdin } = decodeBody(AttachRequestSchema, caller.signed.body);
        mustBeAbout(container, id);
        return serveAttached(output, id, stdin, channel, signal);
      }
      case "Logs": {
        const { container, follow, sinceMs, tail, timestamps } = decodeBody(LogsRequestSchema, caller.signed.body);
        mustBeAbout(container, id);
        return serveLogs(output, id, { follow, sinceMs, tail, timestamps }, channel, signal);
      }
      default:
        return assertNever(call);
    }
  }

  /** Which container the user named, not which the peer in between says. */
  function mustBeAbout(named: string, id: ContainerId): void {
    if (named !== id && named !== view.container(id)?.name) throw new CcError("UNAUTHENTICATED", `the request was signed for another container, ${named}`);
  }

  async function serveAt(holder: PeerId, call: StreamCall, id: ContainerId, caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    if (holder === parts.self) return serve(call, id, caller, channel, signal);
    const name = view.members().find((member) => member.peer === holder)?.name ?? holder;
    if (liveness.of(holder).standing === "unreachable") throw new CcError("HOST_UNREACHABLE", `its host ${name} cannot be reached; its output is there only`);
    const opening = toBinary(StreamOpenSchema, create(StreamOpenSchema, { call, request: caller.signed, container: id }));
    const stream = await mesh.openStream(holder, opening, { timeoutMs: OPEN_MS, signal });
    return relay(channel, stream, signal);
  }

  return {
    run: async (_request, { caller, signal }) => {
      const read = must(readRun(caller.signed));
      const outcome = await placed(read, caller, signal);
      if (!outcome.ok) throw new CcError(outcome.code, outcome.message, read.explain ? { details: { answers: JSON.stringify(outcome.answers) } } : {});
      return {
        id: outcome.id,
        host: outcome.holding.holder,
        copies: outcome.copies,
        answers: read.explain ? [...outcome.answers] : [],
        wrote: outcome.records.map(toWritten),
      };
    },

    stream: async (call, caller, channel, signal) => {
      if (call === "Run") return attachedRun(caller, channel, signal);
      const request: LogsRequest | AttachRequest =
        call === "Logs" ? decodeBody(LogsRequestSchema, caller.signed.body) : decodeBody(AttachRequestSchema, caller.signed.body);
      await catchUp(parts, request.to);
      const { found, notAsked } = await findContainers(parts, askAround, [request.container]);
      const [one] = found;
      if (one === undefined || "error" in one) {
        const error = one === undefined ? { item: request.container, code: "NOT_FOUND", message: "" } : withNotAsked(one.error, notAsked);
        throw new CcError(error.code === "NAME_AMBIGUOUS" ? "NAME_AMBIGUOUS" : "NOT_FOUND", error.message);
      }
      const holder = one.container.best?.holder;
      if (holder === undefined) throw new CcError("HOST_UNREACHABLE", `the host that had ${one.container.id} is no longer in the mesh`);
      return serveAt(holder, call, one.container.id, caller, channel, signal);
    },
  };

  async function attachedRun(caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    const read = must(readRun(caller.signed));
    const outcome = await placed(read, caller, signal);
    if (read.explain) await channel.send(encodeJsonFrame(Channel.event, { type: "explain", answers: outcome.answers }));
    if (!outcome.ok) throw new CcError(outcome.code, outcome.message);
    const { holder } = outcome.holding;
    await channel.send(
      encodeJsonFrame(Channel.event, {
        type: "placed",
        id: outcome.id,
        host: holder,
        copies: outcome.copies,
        wrote: outcome.records.map(toWritten),
        warnings: [],
      }),
    );
    await serveAt(holder, "Run", outcome.id, caller, channel, signal);
  }
}

function readOpening(bytes: Uint8Array): StreamOpen {
  try {
    return fromBinary(StreamOpenSchema, bytes);
  } catch (error) {
    throw new CcError("BAD_REQUEST", "a stream's opening is not a StreamOpen", { cause: error });
  }
}
