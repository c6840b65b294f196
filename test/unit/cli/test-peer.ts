import { generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { Channel, encodeFrame, encodeJsonFrame, type StreamEvent } from "../../../src/api/streams.ts";
import { CcError, statusOf } from "../../../src/base/index.ts";
import { chainUri, ed25519Verifier, formatAccessToken, formatSecretKey, signedRequestOf, verifyRequest } from "../../../src/identity/index.ts";
import { pem, selfSignedCertificate } from "../../../src/identity/x509.ts";
import { certificateOf, grant, keyId, keyPair, MESH, peerId, ROOT } from "../identity/fixtures.ts";

export type Json = Record<string, unknown>;
export type Answer = Json | CcError | "hang" | "drop" | { readonly raw: string };
export type Handler = (request: Json, peer: TestPeer) => Answer | Promise<Answer>;
export type Stream = {
  readonly request: Json;
  readonly socket: WebSocket;
  event(event: StreamEvent): void;
  stdout(text: string | Uint8Array): void;
  stderr(text: string): void;
  /** Frames from the user's side, as they come. */
  readonly frames: { readonly channel: number; readonly payload: Buffer }[];
  until(condition: () => boolean): Promise<void>;
};
export type StreamHandler = (stream: Stream) => void | Promise<void>;

const OPERATOR = "ann";
export const SETTINGS = { accessToken: formatAccessToken({ keyId: keyId(OPERATOR), meshId: MESH }), secretKey: formatSecretKey(keyPair(OPERATOR).seed) };
export const placed = (id: string): StreamEvent => ({ type: "placed", id, host: peerId("peer 2"), copies: 2, wrote: [], warnings: [] });

/** A small peer: real TLS with a real chain, real signatures, answers as the test says. */
export type TestPeer = {
  readonly url: string;
  readonly port: number;
  readonly id: string;
  /** Every request that was understood, in order. */
  readonly requests: { readonly call: string; readonly body: Json; readonly headers: IncomingMessage["headers"] }[];
  /** Bytes that came on TLS connections, whatever they were. */
  bytesRead(): number;
  connections(): number;
  stop(): Promise<void>;
};

export const testTls = (host: string, stranger: boolean): { key: string; cert: string } => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  // A stranger shows a real host's chain, but has not that host's key.
  const hostKey = stranger ? keyPair("stranger").signer : keyPair(host).signer;
  const certificate = selfSignedCertificate({
    spki,
    commonName: host.replaceAll(" ", "-"),
    serial: new Uint8Array(16).fill(7),
    uri: chainUri(certificateOf(host, { by: "boss", chain: [grant("boss", "admin")] }), hostKey, spki),
    names: ["localhost", "127.0.0.1"],
    sign: (bytes) => sign("sha256", bytes, privateKey),
  });
  return { key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(), cert: pem("CERTIFICATE", certificate) };
};

const HTTP_STATUS: Record<string, number> = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  unavailable: 503,
  resource_exhausted: 429,
  unimplemented: 501,
};

export async function startTestPeer(
  options: {
    readonly name?: string;
    readonly stranger?: boolean;
    readonly calls?: Record<string, Handler>;
    readonly streams?: Record<string, StreamHandler>;
    /** Answers are sent in chunks of this many bytes, as a slow network would. */
    readonly chunked?: boolean;
    /** Wall clock that signatures are judged by. */
    readonly nowMs?: () => number;
  } = {},
): Promise<TestPeer> {
  const name = options.name ?? "peer 2";
  const id = peerId(name);
  const requests: TestPeer["requests"] = [];
  const nonces = new Set<string>();
  const sockets = new Set<Socket>();
  let bytes = 0;
  const now = options.nowMs ?? Date.now;

  const check = (call: string, headers: IncomingMessage["headers"], body: Buffer): Json => {
    const signed = signedRequestOf(headers, body);
    if (!signed.ok) throw new CcError(signed.code, signed.message);
    const by = [OPERATOR, "root"].find((each) => signed.value.signatureInput.includes(`keyid="${keyId(each)}"`));
    const publicKey = by === "root" ? ROOT.signer.publicKey : keyPair(by ?? OPERATOR).signer.publicKey;
    if (by === undefined || !verifyRequest(signed.value, publicKey, ed25519Verifier))
      throw new CcError("UNAUTHENTICATED", "the signature does not hold; is it the right key?");
    const createdMs = Number(/created=(\d+)/.exec(signed.value.signatureInput)?.[1]) * 1000;
    if (Math.abs(createdMs - now()) > 300_000) throw new CcError("CLOCK_SKEW", "your clock is off", { details: { timeMs: String(now()) } });
    const nonce = /nonce="([^"]+)"/.exec(signed.value.signatureInput)?.[1] ?? "";
    if (nonces.has(nonce)) throw new CcError("REPLAYED", "this request was here before");
    nonces.add(nonce);
    const json: Json = JSON.parse(body.toString("utf8"));
    const to = json["to"] as { call?: string; mesh?: string; peer?: string };
    if (to.call !== call || to.mesh !== MESH || to.peer !== id) throw new CcError("WRONG_PEER", "addressed to another");
    requests.push({ call, body: json, headers });
    return json;
  };
  const refuse = (response: ServerResponse, error: CcError): void => {
    response.writeHead(HTTP_STATUS[statusOf(error.code)] ?? 500, {
      "content-type": "application/json",
      "cc-error-code": error.code,
      ...(Object.keys(error.details).length > 0 ? { "cc-error-details": encodeURIComponent(JSON.stringify(error.details)) } : {}),
    });
    response.end(JSON.stringify({ code: statusOf(error.code), message: error.message }));
  };

  const server: Server = createServer(testTls(name, options.stranger === true), (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const call = request.url?.replace("/cc.v1.Cloud/", "") ?? "";
      try {
        const body = Buffer.concat(chunks);
        const json: Json = call === "Hello" ? {} : check(call, request.headers, body);
        const handler = options.calls?.[call];
        if (handler === undefined) throw new CcError("NOT_YET", `${call} is not served`);
        const answer = await handler(json, peer);
        if (answer instanceof CcError) throw answer;
        if (answer === "hang") return;
        if (answer === "drop") return void request.socket.destroy();
        if ("raw" in answer) return void request.socket.end(String(answer.raw));
        const text = JSON.stringify(answer);
        response.writeHead(200, { "content-type": "application/json", ...(options.chunked === true ? {} : { "content-length": Buffer.byteLength(text) }) });
        if (options.chunked !== true) return void response.end(text);
        for (let at = 0; at < text.length; at += 7) {
          response.write(text.slice(at, at + 7));
          await new Promise((resolve) => setImmediate(resolve));
        }
        response.end();
      } catch (error) {
        refuse(response, error instanceof CcError ? error : new CcError("INTERNAL", String(error)));
      }
    });
  });
  const websockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on("upgrade", (request, socket: Socket, head) => {
    const call = request.url?.replace("/cc.v1.Cloud/", "") ?? "";
    const carried = request.headers["cc-request"];
    const begin = (json: Json, websocket: WebSocket, frames: Stream["frames"], listeners: Set<() => void>): void => {
      const stream: Stream = {
        request: json,
        socket: websocket,
        frames,
        event: (event) => websocket.send(encodeJsonFrame(Channel.event, event)),
        stdout: (text) => websocket.send(encodeFrame(Channel.stdout, Buffer.from(text))),
        stderr: (text) => websocket.send(encodeFrame(Channel.stderr, Buffer.from(text))),
        until: (condition) =>
          new Promise((resolve) => {
            const look = (): void => {
              if (!condition()) return;
              listeners.delete(look);
              resolve();
            };
            listeners.add(look);
            look();
          }),
      };
      const handler = options.streams?.[call];
      if (handler === undefined) stream.event({ type: "error", code: "NOT_YET", message: "no such stream" });
      else void handler(stream);
    };
    try {
      const known = typeof carried === "string" ? check(call, request.headers, Buffer.from(carried, "base64url")) : undefined;
      websockets.handleUpgrade(request, socket, head, (websocket) => {
        const frames: Stream["frames"] = [];
        const listeners = new Set<() => void>();
        websocket.on("error", () => undefined);
        let waiting = known === undefined;
        websocket.on("message", (data: Buffer) => {
          const payload = data.subarray(1);
          if (waiting) {
            waiting = false;
            try {
              begin(check(call, request.headers, payload), websocket, frames, listeners);
            } catch (error) {
              if (error instanceof CcError)
                websocket.send(encodeJsonFrame(Channel.event, { type: "error", code: error.code, message: error.message, details: error.details }));
            }
            return;
          }
          frames.push({ channel: data[0] ?? 0, payload });
          for (const look of [...listeners]) look();
        });
        if (known !== undefined) begin(known, websocket, frames, listeners);
      });
    } catch (error) {
      const refusal = error instanceof CcError ? error : new CcError("INTERNAL", String(error));
      const body = JSON.stringify({ code: statusOf(refusal.code), message: refusal.message });
      const details = Object.keys(refusal.details).length > 0 ? `cc-error-details: ${encodeURIComponent(JSON.stringify(refusal.details))}\r\n` : "";
      socket.end(
        `HTTP/1.1 ${HTTP_STATUS[statusOf(refusal.code)] ?? 500} no\r\ncc-error-code: ${refusal.code}\r\n${details}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
    }
  });
  server.on("secureConnection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  let connections = 0;
  server.on("connection", () => {
    connections += 1;
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const peer: TestPeer = {
    url: `https://127.0.0.1:${port}`,
    port,
    id,
    requests,
    bytesRead: () => bytes,
    connections: () => connections,
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return peer;
}
