import { Socket } from "node:net";
import type { MultiaddrConnection } from "@libp2p/interface";

const joined = new WeakSet<Socket>();

/**
 * Makes one packet of what one turn of the loop writes to a connection. Noise writes each message as its length and its
 * bytes, yamux each frame and window update apart: a call was 8 writes, so 8 system calls and, without Nagle's delay,
 * 8 packets. Does nothing where libp2p no longer shows the socket.
 */
export function joinWrites(connection: MultiaddrConnection): void {
  const socket: unknown = "socket" in connection ? connection.socket : undefined;
  if (!(socket instanceof Socket) || joined.has(socket)) return;
  joined.add(socket);
  const write: Socket["write"] = socket.write.bind(socket);
  let corked = false;
  const corkedWrite = (...args: Parameters<Socket["write"]>): boolean => {
    if (!corked) {
      corked = true;
      socket.cork();
      setImmediate(() => {
        corked = false;
        socket.uncork();
      });
    }
    return write(...args);
  };
  socket.write = corkedWrite as Socket["write"];
}
