import { createServer } from "node:net";
import { CcError } from "../../base/index.ts";
import { type Bind, formatAddress } from "../bind.ts";
import type { LocalListener } from "../serve-local.ts";
import type { TunnelSocket } from "../socket.ts";
import { tcpSocket } from "./tcp-socket.ts";

const BACKLOG = 1_024;

/** Listens on this machine. Throws IN_USE, or BAD_REQUEST for an address that cannot be had. */
export function listenLocally(bind: Bind, accept: (socket: TunnelSocket) => void): Promise<LocalListener> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => accept(tcpSocket(socket)));
    server.once("error", (error: NodeJS.ErrnoException) => reject(bindError(bind, error)));
    server.listen({ host: bind.address, port: bind.port, backlog: BACKLOG, exclusive: true }, () => {
      const address = server.address();
      // A single connection that cannot be taken (no file descriptor is left) ends nothing.
      server.removeAllListeners("error").on("error", () => undefined);
      resolve({
        at: typeof address === "object" && address !== null ? { address: address.address, port: address.port } : bind,
        close: () => void server.close(),
      });
    });
  });
}

function bindError(bind: Bind, error: NodeJS.ErrnoException): CcError {
  const at = formatAddress(bind);
  const because: Readonly<Record<string, CcError>> = {
    EADDRINUSE: new CcError("IN_USE", `${at} is in use by another program; give another port, or 0 for a free one`),
    EADDRNOTAVAIL: new CcError("BAD_REQUEST", `${at} is no address of this machine; ip address lists them`),
    EACCES: new CcError("FORBIDDEN", `${at} may not be used by you; ports below 1024 need root, give a higher one`),
  };
  return because[error.code ?? ""] ?? new CcError("BAD_REQUEST", `${at} cannot be listened on (${error.code ?? error.message})`);
}
