import { type DescMessage, fromBinary, fromJsonString, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { CcError, type KeyId, type PeerId } from "../base/index.ts";
import {
  AttachRequestSchema,
  type Cloud,
  ExecRequestSchema,
  LogsRequestSchema,
  PushRequestSchema,
  RunRequestSchema,
  TunnelRequestSchema,
} from "./gen/cc/v1/cloud_pb.ts";
import type { SignedRequest } from "./gen/cc/v1/records_pb.ts";

type Methods = (typeof Cloud)["method"];
/** Unary calls by their local names: `run`, `listContainers` ... */
export type CloudCall = keyof Methods;
export type CloudRequest<C extends CloudCall> = MessageShape<Methods[C]["input"]>;
export type CloudReply<C extends CloudCall> = MessageShape<Methods[C]["output"]>;
export type CloudReplyInit<C extends CloudCall> = MessageInitShape<Methods[C]["output"]>;

export type Role = "viewer" | "operator" | "admin";

/** Who signed a request, checked by this host itself. */
export type Caller = {
  readonly keyId: KeyId;
  readonly role: Role;
  /** Signed with the root's recovery key. */
  readonly isRoot: boolean;
  readonly nonce: string;
  readonly createdMs: number;
  /** Exactly what was signed: what a record or a passed-on call carries. */
  readonly signed: SignedRequest;
};

export type CallContext = {
  readonly caller: Caller;
  readonly signal: AbortSignal;
  /** The peer that passed the call on; undefined where the user spoke to this one. */
  readonly via: PeerId | undefined;
};

export type OpenContext = { readonly signal: AbortSignal; readonly remoteAddress: string };

/** Calls that carry no signature: they prove themselves by what they contain. */
export const OPEN_CALLS = ["hello", "admit", "introduce"] as const;
export type OpenCall = (typeof OPEN_CALLS)[number];
export type SignedCall = Exclude<CloudCall, OpenCall>;

export type SignedHandlers = { readonly [C in SignedCall]: (request: CloudRequest<C>, context: CallContext) => Promise<CloudReplyInit<C>> };
export type OpenHandlers = { readonly [C in OpenCall]: (request: CloudRequest<C>, context: OpenContext) => Promise<CloudReplyInit<C>> };

/** Byte-stream calls, on WebSocket to users and on libp2p streams between peers. */
export const STREAM_CALLS = {
  Run: RunRequestSchema,
  Logs: LogsRequestSchema,
  Attach: AttachRequestSchema,
  Exec: ExecRequestSchema,
  Tunnel: TunnelRequestSchema,
  Push: PushRequestSchema,
} as const;
export type StreamCall = keyof typeof STREAM_CALLS;
/** Those that are about a container, and go to its host. */
export type ContainerStreamCall = Exclude<StreamCall, "Push">;
export type StreamRequest<C extends StreamCall> = MessageShape<(typeof STREAM_CALLS)[C]>;

export function isStreamCall(name: string): name is StreamCall {
  return Object.hasOwn(STREAM_CALLS, name);
}

export function isOpenCall(call: CloudCall): call is OpenCall {
  return OPEN_CALLS.some((open) => open === call);
}

/**
 * The message in a signed body: JSON when it begins with `{`, a gRPC-framed message when it begins with 0, else bare
 * protobuf. Throws BAD_REQUEST.
 */
export function decodeBody<S extends DescMessage>(schema: S, body: Uint8Array): MessageShape<S> {
  try {
    if (body[0] === 0x7b) return fromJsonString(schema, new TextDecoder("utf-8", { fatal: true }).decode(body));
    if (body[0] === 0) return fromBinary(schema, body.subarray(5));
    return fromBinary(schema, body);
  } catch (error) {
    throw new CcError("BAD_REQUEST", `the request is not a ${schema.typeName}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
