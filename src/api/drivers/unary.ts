import type { IncomingMessage, ServerResponse } from "node:http";
import { createContextValues } from "@connectrpc/connect";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import { asCcError, CcError } from "../../base/index.ts";
import { type CloudCall, decodeBody, isOpenCall } from "../calls.ts";
import { Cloud } from "../gen/cc/v1/cloud_pb.ts";
import { type Admitted, admittedKey, cloudRoutes } from "./connect-router.ts";
import { type AnyRequest, type AnyResponse, type ApiServerParts, errorBody, REQUEST_BYTES_MAX, readBody, SERVICE_PATH, signatureHeaders } from "./requests.ts";

/**
 * Serves unary calls. The body is read whole and its signature checked before Connect sees it, since what is signed is
 * the bytes on the wire, not what they decode to.
 */
export function createUnaryListener(parts: ApiServerParts, stopping: AbortSignal): (request: AnyRequest, response: AnyResponse) => void {
  const routes = cloudRoutes(parts.signed, parts.open, REQUEST_BYTES_MAX);

  async function answer(request: AnyRequest, response: AnyResponse): Promise<void> {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const route = routes.get(path);
    if (route === undefined) throw new CcError("NOT_FOUND", `there is no ${path} here; calls are POST ${SERVICE_PATH}<Call>`);
    const body = await readBody(request);
    const gone = new AbortController();
    response.once("close", () => gone.abort(new CcError("CANCELLED", "the caller went away")));
    const signal = AbortSignal.any([gone.signal, stopping]);
    mustBeMessage(path.slice(SERVICE_PATH.length), request, body);
    const values = createContextValues().set(admittedKey, await admit(path.slice(SERVICE_PATH.length), request, body, signal));
    // Connect's helpers take both of Node's kinds of request; their types name only the older one.
    const universal = universalRequestFromNodeRequest(request as IncomingMessage, response as ServerResponse, undefined, values);
    const answered = await route({ ...universal, body: oneChunk(body), signal });
    await universalResponseToNodeResponse(answered, response as ServerResponse);
  }

  async function admit(name: string, request: AnyRequest, body: Uint8Array, signal: AbortSignal): Promise<Admitted> {
    const local = localName(name);
    if (!isOpenCall(local))
      return { kind: "signed", context: { caller: await parts.authenticate(name, signatureHeaders(request), body), signal, via: undefined } };
    const remoteAddress = request.socket.remoteAddress ?? "";
    if (!parts.openCalls.take(remoteAddress)) throw new CcError("RATE_LIMITED", "too many unsigned calls from this address; try again in a few seconds");
    return { kind: "open", context: { signal, remoteAddress } };
  }

  return (request, response) => {
    answer(request, response).catch((thrown: unknown) => {
      const error = asCcError(thrown);
      if (error.code === "INTERNAL") parts.log.error({ err: error, path: request.url }, "a request failed");
      if (response.headersSent) return response.destroy();
      const { status, headers, body } = errorBody(error);
      (response as ServerResponse).writeHead(status, headers);
      return response.end(body);
    });
  };
}

/** Of a call that has a route: `ListContainers` is `listContainers` in the contract's description. */
const localName = (name: string): CloudCall => (name.slice(0, 1).toLowerCase() + name.slice(1)) as CloudCall;

/** Connect would call bytes that are no message its own fault; in JSON and gRPC it says what is wrong. */
function mustBeMessage(name: string, request: AnyRequest, body: Uint8Array): void {
  if (!request.headers["content-type"]?.startsWith("application/proto")) return;
  decodeBody(Cloud.method[localName(name)].input, body);
}

async function* oneChunk(body: Uint8Array): AsyncGenerator<Uint8Array> {
  if (body.length > 0) yield body;
}
