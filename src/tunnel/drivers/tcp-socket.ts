import type { Socket } from "node:net";
import type { SocketEvents, TunnelSocket } from "../socket.ts";

/**
 * A TCP connection as a tunnel sees it. The socket has to be paused, with half-open connections allowed: a program may send its
 * end and still read.
 */
export function tcpSocket(socket: Socket): TunnelSocket {
  let events: SocketEvents | undefined;
  socket.setNoDelay(true);
  // What went wrong is of no interest: 'close' follows, and the connection was not ended by both sides.
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Uint8Array) => events?.data(chunk));
  socket.on("end", () => events?.end());
  socket.on("close", () => events?.closed());
  socket.pause();
  return {
    listen(given) {
      events = given;
      if (socket.destroyed) return given.closed();
      socket.resume();
    },
    write: (chunk, taken) => void socket.write(chunk, () => taken()),
    end: () => void socket.end(),
    reset() {
      if (socket.destroyed) return;
      // libuv resets no socket that has sent its end: Node would keep it for ever. Closed, it answers what still comes with a reset.
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
  };
}
