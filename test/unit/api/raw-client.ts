import { once } from "node:events";
import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import { requestHeaders } from "../../../src/identity/index.ts";
import { request } from "../identity/fixtures.ts";

const ANSWER_MS = 3_000;

/** The server that is spoken to. */
export const target = { port: 0 };

export function open(): TLSSocket {
  const socket = connect({ port: target.port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
  socket.on("error", () => undefined);
  return socket;
}

/** Sends bytes, and gives what came until the peer closed or nothing more comes. */
export async function exchange(bytes: Uint8Array | string, end = true): Promise<string> {
  const socket = open();
  await once(socket, "secureConnect");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.write(bytes);
  if (end) socket.end();
  await closed(socket, () => socket.destroy());
  return Buffer.concat(chunks).toString("latin1");
}

/** Its end, however it comes: `once` would take a reset for a failure of the test. */
export async function closed(socket: Socket | WebSocket, end: () => void): Promise<void> {
  const timer = setTimeout(end, ANSWER_MS);
  await new Promise<void>((resolve) => void socket.once("close", () => resolve()));
  clearTimeout(timer);
}

export function post(call: string, body: Uint8Array | string, headers: Readonly<Record<string, string>> = {}): Buffer {
  const all = { host: "h", "content-type": "application/json", "content-length": `${Buffer.byteLength(body)}`, connection: "close", ...headers };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`POST /cc.v1.Cloud/${call} HTTP/1.1\r\n${head.join("")}\r\n`, "latin1"), Buffer.from(body)]);
}

export const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);

export function signed(call: string, fields: object, by = "ann") {
  const one = request(call, fields, { by });
  return { body: one.body, headers: requestHeaders(one) as Readonly<Record<string, string>> };
}

/** A stream's end as its user sees it: frames, and how the socket closed. */
export async function stream(
  call: string,
  headers: Readonly<Record<string, string>>,
  send: (socket: WebSocket, raw: Socket | undefined) => void,
): Promise<{ readonly frames: readonly Buffer[]; readonly status: number | undefined }> {
  const socket = new WebSocket(`wss://127.0.0.1:${target.port}/cc.v1.Cloud/${call}`, { rejectUnauthorized: false, headers });
  const frames: Buffer[] = [];
  let status: number | undefined;
  socket.on("error", () => undefined);
  socket.on("message", (data: Buffer) => frames.push(data));
  socket.on("unexpected-response", (_request, response) => {
    status = response.statusCode;
    socket.terminate();
    response.resume();
  });
  let raw: Socket | undefined;
  socket.once("upgrade", (response) => {
    raw = response.socket;
  });
  socket.once("open", () => send(socket, raw));
  await closed(socket, () => socket.terminate());
  return { frames, status };
}

export const inHeader = (call: string): Readonly<Record<string, string>> => {
  const { body, headers } = signed(call, { token: "token-of-a-run" });
  return { ...headers, "cc-request": Buffer.from(body).toString("base64url") };
};
