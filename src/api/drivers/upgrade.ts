import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { asCcError, CcError } from "../../base/index.ts";
import { type Caller, isStreamCall, STREAM_CALLS, type StreamCall } from "../calls.ts";
import { Channel, decodeFrame, encodeJsonFrame, type FrameChannel } from "../streams.ts";
import { type ApiServerParts, errorBody, REQUEST_BYTES_MAX, type RequestHeaders, SERVICE_PATH, signatureHeaders } from "./requests.ts";
import { acceptUpgrade, websocketChannel } from "./websocket-channel.ts";

const FIRST_FRAME_TIMEOUT_MS = 5_000;

export type UpgradeListener = {
  readonly listener: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Ends every open stream. */
  readonly terminate: () => void;
};

/** Serves the byte-stream calls: one signed WebSocket upgrade each. */
export function createUpgradeListener(parts: ApiServerParts, stopping: AbortSignal): UpgradeListener {
  const open = new Set<Duplex>();

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const path = request.url ?? "";
    const call = path.startsWith(SERVICE_PATH) ? path.slice(SERVICE_PATH.length) : "";
    if (!isStreamCall(call))
      throw new CcError("NOT_FOUND", `there is no stream ${path} here; streams are ${SERVICE_PATH}${Object.keys(STREAM_CALLS).join(", ")}`);
    const headers = signatureHeaders(request);
    const carried = request.headers["cc-request"];
    // A request in the header is refused with a status; one in the first frame can only be refused by an event.
    const caller = typeof carried === "string" ? await parts.authenticate(call, headers, Buffer.from(carried, "base64url")) : undefined;
    acceptUpgrade(request, socket);
    const gone = new AbortController();
    open.add(socket);
    socket.once("close", () => {
      open.delete(socket);
      gone.abort(new CcError("CANCELLED", "the caller went away"));
    });
    const channel = websocketChannel(socket, head);
    serve(call, caller, headers, channel, AbortSignal.any([gone.signal, stopping])).catch((error: unknown) => channel.abort(error));
  }

  async function serve(call: StreamCall, known: Caller | undefined, headers: RequestHeaders, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    try {
      const caller = known ?? (await authenticateFirstFrame(call, headers, channel));
      await parts.stream(call, caller, channel, signal);
    } catch (thrown) {
      const error = asCcError(thrown);
      if (error.code === "INTERNAL") parts.log.error({ err: error, call }, "a stream failed");
      if (!signal.aborted || stopping.aborted)
        await channel.send(encodeJsonFrame(Channel.event, { type: "error", code: error.code, message: error.message, details: error.details }));
    }
    await channel.end();
  }

  async function authenticateFirstFrame(call: StreamCall, headers: RequestHeaders, channel: FrameChannel): Promise<Caller> {
    const timer = setTimeout(
      () => channel.abort(new CcError("TIMEOUT", `the request did not come within ${FIRST_FRAME_TIMEOUT_MS} ms`)),
      FIRST_FRAME_TIMEOUT_MS,
    );
    try {
      const first = await channel.frames()[Symbol.asyncIterator]().next();
      const frame = first.done === true ? undefined : decodeFrame(first.value, REQUEST_BYTES_MAX);
      if (frame?.channel !== Channel.request) throw new CcError("BAD_REQUEST", "the first frame must be the request");
      return await parts.authenticate(call, headers, frame.payload);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    listener: (request, socket, head) => {
      socket.on("error", () => socket.destroy());
      upgrade(request, socket, head).catch((thrown: unknown) => {
        const { status, headers, body } = errorBody(asCcError(thrown));
        const lines = Object.entries({ ...headers, connection: "close" }).map(([name, value]) => `${name}: ${value}\r\n`);
        socket.end(`HTTP/1.1 ${status} Refused\r\n${lines.join("")}\r\n${body}`);
      });
    },
    terminate: () => {
      for (const socket of open) socket.destroy();
    },
  };
}
