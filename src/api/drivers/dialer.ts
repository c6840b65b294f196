import { connect as connectSocket, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { CcError, freeBuffer, type Result } from "../../base/index.ts";
import type { Connection, ConnectionListener, Dialer, Endpoint, ProvenPeer } from "../client-connection.ts";

const CONNECT_MS_MAX = 3_000;

/**
 * Who a certificate proves its bearer to be: `sanText` is its subjectAltName as Node gives it, `spki` its key. Refused
 * where the chain in it does not lead to the mesh's root.
 */
export type ProvePeer = (sanText: string, spki: Uint8Array) => Result<ProvenPeer>;

function asConnection(socket: Socket, peer: ProvenPeer | undefined): Connection {
  let listener: ConnectionListener | undefined;
  let early: Uint8Array[] = [];
  let over: { error: Error | undefined } | undefined;
  let fault: Error | undefined;
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    for (const resolve of waiting.splice(0)) resolve();
  };
  socket.on("data", (chunk: Uint8Array) => {
    if (listener === undefined) early.push(chunk);
    else listener.data(chunk);
  });
  socket.on("error", (error) => {
    fault ??= error;
  });
  socket.on("drain", wake);
  socket.on("end", () => socket.end());
  socket.on("close", () => {
    if (over !== undefined) return;
    over = { error: fault };
    wake();
    listener?.end(fault);
  });
  return {
    peer,
    get ended() {
      return over !== undefined || socket.destroyed || !socket.writable || socket.readableEnded;
    },
    write: (bytes) => !socket.writable || socket.write(bytes, () => freeBuffer(bytes)),
    drained: () => (over !== undefined || socket.destroyed ? Promise.resolve() : new Promise((resolve) => void waiting.push(resolve))),
    listen(next) {
      listener = next;
      const held = early;
      early = [];
      for (const chunk of held) next.data(chunk);
      if (over !== undefined) next.end(over.error);
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    close() {
      waiting = [];
      // What was written last (a close frame) still goes out; a peer that does not hang up then is left.
      if (!socket.destroyed) socket.end(() => socket.destroy());
    },
  };
}

const reasonOf = (error: Error): string => ("code" in error && typeof error.code === "string" ? error.code : error.message);

/**
 * Dials peers: TLS 1.3 with no certificate authority at all (`ca: []`: building Node's root store costs 5 ms), because a
 * peer is known by the chain in its certificate, checked here up to the mesh's root before the first byte is written.
 */
export function createDialer(prove: ProvePeer, connectMsMax = CONNECT_MS_MAX): Dialer {
  return {
    dial: (endpoint: Endpoint) =>
      new Promise((resolve, reject) => {
        let socket: Socket;
        const refuse = (error: CcError): void => {
          clearTimeout(timer);
          socket.destroy();
          reject(error);
        };
        const timer = setTimeout(
          () =>
            refuse(
              new CcError(
                "PEER_UNREACHABLE",
                `${endpoint.url} does not answer (no connection within ${connectMsMax / 1000} s); check the address, or name another peer in CC_ENDPOINT_URL`,
              ),
            ),
          connectMsMax,
        );
        const onError = (error: Error): void =>
          refuse(
            new CcError(
              "PEER_UNREACHABLE",
              `${endpoint.url} cannot be reached (${reasonOf(error)}); check the address, or name another peer in CC_ENDPOINT_URL`,
            ),
          );
        const ready = (peer: ProvenPeer | undefined): void => {
          clearTimeout(timer);
          socket.off("error", onError);
          socket.setNoDelay(true);
          resolve(asConnection(socket, peer));
        };
        if (endpoint.kind === "unix") {
          socket = connectSocket({ path: endpoint.path }, () => ready(undefined));
          socket.once("error", onError);
          return;
        }
        const secure = connectTls(
          {
            host: endpoint.host,
            port: endpoint.port,
            ca: [],
            // Whom it belongs to is decided below by its chain, not by names and authorities.
            rejectUnauthorized: false,
            checkServerIdentity: () => undefined,
            minVersion: "TLSv1.3",
            ALPNProtocols: ["http/1.1"],
            ...(/^[\d.]+$|:/.test(endpoint.host) ? {} : { servername: endpoint.host }),
          },
          () => {
            const certificate = secure.getPeerX509Certificate();
            if (certificate === undefined) return refuse(new CcError("NOT_A_MEMBER", `${endpoint.url} showed no certificate; nothing was sent`));
            const proof = prove(certificate.subjectAltName ?? "", certificate.publicKey.export({ type: "spki", format: "der" }));
            if (!proof.ok)
              return refuse(new CcError(proof.code, `${endpoint.url} could not prove to be a peer of this mesh (${proof.message}); nothing was sent`));
            ready(proof.value);
          },
        );
        secure.once("error", onError);
        socket = secure;
      }),
  };
}
