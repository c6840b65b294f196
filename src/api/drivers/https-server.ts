import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import { dirname } from "node:path";
import type { Duplex } from "node:stream";
import { CcError } from "../../base/index.ts";
import type { ApiServerParts } from "./requests.ts";
import { createUnaryListener } from "./unary.ts";
import { createUpgradeListener } from "./upgrade.ts";

const CONNECTIONS_MAX = 1_024;

export type ApiServerSettings = {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly key: string; readonly cert: string };
  /** A Unix socket (0600 in a 0700 folder) that serves the same, still signed. */
  readonly socketPath: string | undefined;
};

export type ApiServer = { readonly port: number; stop(): Promise<void> };

/** Serves the contract over TLS (HTTP/1.1 and HTTP/2) and on the Unix socket. Throws when the address is taken. */
export async function startApiServer(parts: ApiServerParts, settings: ApiServerSettings): Promise<ApiServer> {
  const stopping = new AbortController();
  const unary = createUnaryListener(parts, stopping.signal);
  const upgrades = createUpgradeListener(parts, stopping.signal);

  const server = createSecureServer({ ...settings.tls, allowHTTP1: true, minVersion: "TLSv1.3" }, unary);
  const closePublic = await open(server, "secureConnection", upgrades.listener, { host: settings.host, port: settings.port });
  let closeLocal: (() => Promise<void>) | undefined;
  if (settings.socketPath !== undefined) {
    mkdirSync(dirname(settings.socketPath), { recursive: true, mode: 0o700 });
    rmSync(settings.socketPath, { force: true });
    closeLocal = await open(createServer(unary), "connection", upgrades.listener, { path: settings.socketPath });
    chmodSync(settings.socketPath, 0o600);
  }

  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : settings.port,
    stop: async () => {
      stopping.abort(new CcError("STARTING", "this peer is stopping; ask another"));
      upgrades.terminate();
      await Promise.all([closePublic(), closeLocal?.()]);
      if (settings.socketPath !== undefined) rmSync(settings.socketPath, { force: true });
    },
  };
}

type Upgrade = ReturnType<typeof createUpgradeListener>["listener"];

/** Listens, with a bound on open connections. Gives a function that closes them all. */
async function open(
  server: Http2SecureServer | Server,
  connected: string,
  upgrade: Upgrade,
  where: { host?: string; port?: number; path?: string },
): Promise<() => Promise<void>> {
  const connections = new Set<Duplex>();
  server.on(connected, (socket: Duplex) => {
    if (connections.size >= CONNECTIONS_MAX) return void socket.destroy();
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
  });
  server.on("upgrade", upgrade);
  // A client that breaks its TLS or its socket harms itself only.
  server.on("clientError", (_error: Error, socket: Duplex) => socket.destroy());
  server.on("tlsClientError", (_error: Error, socket: Duplex) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      for (const socket of connections) socket.destroy();
    });
}
