import { type DescMessage, fromBinary, fromJson, type MessageShape } from "@bufbuild/protobuf";
import { bodyFormat } from "../../identity/index.ts";

const GRPC_HEAD_BYTES = 5;

/**
 * A signed body as this version's message; undefined when it is none. Unknown fields are passed over: the peer that took
 * the request may have been of a later version, and what it acknowledged counts here too.
 */
export function decodeBody<D extends DescMessage>(schema: D, body: Uint8Array): MessageShape<D> | undefined {
  try {
    const format = bodyFormat(body);
    if (format === "json") return fromJson(schema, JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)), { ignoreUnknownFields: true });
    return fromBinary(schema, format === "grpc" ? body.subarray(GRPC_HEAD_BYTES) : body);
  } catch {
    return undefined; // Not this message: the record counts for nothing.
  }
}

/** A record's content as a message; undefined when it is none. */
export function decodeContent<D extends DescMessage>(schema: D, content: Uint8Array): MessageShape<D> | undefined {
  try {
    return fromBinary(schema, content);
  } catch {
    return undefined; // The same.
  }
}
