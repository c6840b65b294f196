import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { type Clock, deadline, formatIp, type Random } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import type { RouterRoute } from "../../router-driver.ts";
import { decodeAnswer, type PcpAnswer } from "./packets.ts";

export type ExchangeParts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly port: number;
  readonly firstRetryMs: number;
  readonly limitMs: number;
};

/** `closed`: the router says that nobody listens there, or this host's own network does not work. */
export type ExchangeOutcome =
  | { readonly kind: "answer"; readonly answer: PcpAnswer }
  | { readonly kind: "silent" }
  | { readonly kind: "closed"; readonly reason: string };

/**
 * Sends a request until it is answered or the time is over. The socket is bound to our address at the router, connected (so the kernel
 * drops what others send) and of a port of its own, which whoever wants to forge an answer would have to guess. What is no answer to this
 * request is passed over.
 */
export async function exchange(
  parts: ExchangeParts,
  route: RouterRoute,
  packet: Uint8Array,
  matches: (answer: PcpAnswer) => boolean,
  signal: AbortSignal,
): Promise<ExchangeOutcome> {
  signal.throwIfAborted();
  const socket = createSocket(route.gateway.family === 4 ? "udp4" : "udp6");
  const limit = deadline(parts.clock, parts.limitMs, signal);
  let stopSending = (): void => undefined;
  try {
    return await new Promise<ExchangeOutcome>((resolve, reject) => {
      limit.signal.addEventListener("abort", () => (signal.aborted ? reject(signal.reason) : resolve({ kind: "silent" })), { once: true });
      socket.on("error", (error) => resolve({ kind: "closed", reason: errorCode(error) }));
      socket.on("message", (bytes) => {
        const answer = decodeAnswer(bytes);
        if (answer !== undefined && matches(answer)) resolve({ kind: "answer", answer });
      });
      socket.bind({ address: formatIp(route.local), port: 0, exclusive: true }, () => {
        // Where it cannot connect, Node gives the error to this function instead of the event.
        socket.connect(parts.port, formatIp(route.gateway), (error?: Error) => {
          if (error !== undefined && error !== null) socket.emit("error", error);
          else stopSending = keepSending(parts, socket, packet);
        });
      });
    });
  } finally {
    stopSending();
    limit.dispose();
    socket.removeAllListeners();
    socket.on("error", () => undefined); // What comes between the last word and the closing is of no use to anybody.
    const closed = once(socket, "close");
    socket.close();
    await closed;
  }
}

/** RFC 6887, 8.1.1: each pause twice the one before, give or take a tenth, so that hosts that start together do not stay together. */
function keepSending({ clock, random, firstRetryMs }: ExchangeParts, socket: Socket, packet: Uint8Array): () => void {
  let cancel = (): void => undefined;
  const send = (pauseMs: number): void => {
    socket.send(packet, (error) => {
      if (error !== null) socket.emit("error", error);
    });
    cancel = clock.after(pauseMs * (0.9 + random.below(201) / 1_000), () => send(pauseMs * 2));
  };
  send(firstRetryMs);
  return () => cancel();
}
