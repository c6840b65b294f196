import { createSocket } from "node:dgram";
import { once } from "node:events";
import type { Answering } from "./answering.ts";

/** What the kernel keeps for us while we are at work, as far as it lets us. */
const RECEIVE_BYTES = 4 * 1024 * 1024;
/** Answers that the kernel does not take: whoever asked asks again. */
const UNSENT_BYTES_MAX = 1024 * 1024;

/** `reuseAddr`: a resolver of the host that listens on all addresses, and lets others do so too, is no obstacle. Rejects where it cannot listen. */
export async function listenUdp(address: string, port: number, answering: Answering): Promise<void> {
  const socket = createSocket({ type: "udp4", reuseAddr: true, recvBufferSize: RECEIVE_BYTES, lookup: (host, _options, done) => done(null, host, 4) });
  socket.on("message", (packet, { address: source, port: sourcePort }) => {
    answering.handle(packet, source, "udp", (reply) => {
      if (reply === undefined || socket.getSendQueueSize() > UNSENT_BYTES_MAX) return;
      // Whether it arrives is for the one who asked to find out.
      socket.send(reply, sourcePort, source, () => undefined);
    });
  });
  try {
    const listening = once(socket, "listening");
    socket.bind({ address, port });
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
}
