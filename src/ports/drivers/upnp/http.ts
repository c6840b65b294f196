import { request } from "node:http";
import { type Clock, deadline, formatIp } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import type { RouterRoute } from "../../router-driver.ts";
import { XML_CHARACTERS_MAX } from "./xml.ts";

export type HttpReply =
  | { readonly kind: "reply"; readonly status: number; readonly body: string }
  /** No whole answer in time, or none of this size; `reason` fit for a user. */
  | { readonly kind: "failed"; readonly reason: string };

export type HttpCall = { readonly url: URL; readonly method: "GET" | "POST"; readonly headers?: Readonly<Record<string, string>>; readonly body?: string };

/** One request from our address at the router, on a connection of its own: small routers keep few, and close them when they like. */
export async function callRouter(clock: Clock, limitMs: number, route: RouterRoute, call: HttpCall, signal: AbortSignal): Promise<HttpReply> {
  signal.throwIfAborted();
  const limit = deadline(clock, limitMs, signal);
  try {
    return await new Promise<HttpReply>((resolve, reject) => {
      const failed = (reason: string): void => (signal.aborted ? reject(signal.reason) : resolve({ kind: "failed", reason }));
      const length = call.body === undefined ? {} : { "content-length": String(Buffer.byteLength(call.body)) };
      const outgoing = request(call.url, {
        method: call.method,
        headers: { connection: "close", ...length, ...call.headers },
        agent: false,
        localAddress: formatIp(route.local),
        signal: limit.signal,
      });
      outgoing.on("error", (error) => failed(limit.signal.aborted ? `no answer within ${limitMs / 1_000} s` : `no connection (${errorCode(error)})`));
      outgoing.on("response", (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on("error", () => failed("the answer broke off"));
        incoming.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes <= XML_CHARACTERS_MAX) chunks.push(chunk);
          else outgoing.destroy(new Error("the answer is too long"));
        });
        incoming.on("end", () => resolve({ kind: "reply", status: incoming.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }));
      });
      outgoing.end(call.body);
    });
  } finally {
    limit.dispose();
  }
}
