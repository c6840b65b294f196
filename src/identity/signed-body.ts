import { ok, type Result, refuse } from "../base/index.ts";

/**
 * A reader of signed bodies that needs no generated code: certificates are checked by the command line before its first
 * byte, where importing protobuf would cost more than the whole call. It reads the fields that identity decides by; what it
 * does not know it skips, as protobuf does.
 */
export type Field = { readonly number: number; readonly name: string } & (
  | { readonly kind: "string" | "double" | "uint32" | "bool"; readonly repeated?: false }
  | { readonly kind: "string"; readonly repeated: true }
  | { readonly kind: "message"; readonly fields: readonly Field[]; readonly repeated?: false }
);

/** By the field's name in the contract (`public_key`); what was not given is missing. */
export type Values = ReadonlyMap<string, Value>;
export type Value = string | number | boolean | readonly string[] | Values;

/** Above every limit that the API sets on a single request; keeps a reader's work bounded. */
export const SIGNED_BODY_BYTES_MAX = 1024 * 1024;
const GRPC_HEAD_BYTES = 5;

/** Told by the first byte: `{` JSON, 0x00 one gRPC-framed message, else bare protobuf. */
export function bodyFormat(body: Uint8Array): "json" | "grpc" | "proto" {
  if (body[0] === 0x7b) return "json";
  return body[0] === 0x00 ? "grpc" : "proto";
}

export function readBody(body: Uint8Array, fields: readonly Field[]): Result<Values> {
  if (body.length > SIGNED_BODY_BYTES_MAX) return refuse("TOO_LARGE", `a request has at most ${SIGNED_BODY_BYTES_MAX} bytes, this one has ${body.length}`);
  const values = bodyFormat(body) === "json" ? readJson(body, fields) : readProto(bodyFormat(body) === "grpc" ? unframed(body) : body, fields);
  return values === undefined ? refuse("BAD_REQUEST", "the signed body is neither a JSON object nor a protobuf message of this call") : ok(values);
}

export function textIn(values: Values, name: string): string {
  const value = values.get(name);
  return typeof value === "string" ? value : "";
}

export function numberIn(values: Values, name: string): number {
  const value = values.get(name);
  return typeof value === "number" ? value : 0;
}

export function flagIn(values: Values, name: string): boolean {
  return values.get(name) === true;
}

export function textsIn(values: Values, name: string): readonly string[] {
  const value = values.get(name);
  return Array.isArray(value) ? value : [];
}

export function messageIn(values: Values, name: string): Values {
  const value = values.get(name);
  return value instanceof Map ? value : new Map();
}

function unframed(body: Uint8Array): Uint8Array | undefined {
  if (body.length < GRPC_HEAD_BYTES) return undefined;
  const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
  return length === body.length - GRPC_HEAD_BYTES ? body.subarray(GRPC_HEAD_BYTES) : undefined;
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined; // Not text: the caller says what that means.
  }
}

function readJson(body: Uint8Array, fields: readonly Field[]): Values | undefined {
  const text = utf8(body);
  if (text === undefined) return undefined;
  try {
    return jsonMessage(JSON.parse(text), fields);
  } catch {
    return undefined; // Not JSON, or nested deeper than the parser's stack.
  }
}

function jsonMessage(json: unknown, fields: readonly Field[]): Values | undefined {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return undefined;
  const entries = new Map<string, unknown>(Object.entries(json));
  const values = new Map<string, Value>();
  for (const field of fields) {
    // protobuf's JSON form knows both spellings; a body with both would mean different things to different readers.
    const spellings = [...new Set([field.name, field.name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())])].filter((name) =>
      entries.has(name),
    );
    const [spelling] = spellings;
    if (spellings.length > 1) return undefined;
    const given = spelling === undefined ? null : entries.get(spelling);
    if (given === null) continue;
    const value = jsonValue(given, field);
    if (value === undefined) return undefined;
    values.set(field.name, value);
  }
  return values;
}

function jsonValue(given: unknown, field: Field): Value | undefined {
  if (field.kind === "message") return jsonMessage(given, field.fields);
  if (field.repeated === true) return Array.isArray(given) && given.every((item) => typeof item === "string") ? given : undefined;
  if (field.kind === "string") return typeof given === "string" ? given : undefined;
  if (field.kind === "bool") return typeof given === "boolean" ? given : undefined;
  if (typeof given !== "number" || !Number.isFinite(given)) return undefined;
  return field.kind === "double" || isUint32(given) ? given : undefined;
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

function readProto(body: Uint8Array | undefined, fields: readonly Field[]): Values | undefined {
  if (body === undefined) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const values = new Map<string, Value>();
  const lists = new Map<string, string[]>();
  let at = 0;
  while (at < body.length) {
    const tag = varint(body, at);
    if (tag === undefined || tag.value > 0xffff_ffff) return undefined;
    at = tag.end;
    const wire = tag.value % 8;
    const number = Math.floor(tag.value / 8);
    if (number === 0) return undefined;
    const field = fields.find((candidate) => candidate.number === number);
    let value: Value | undefined;
    if (wire === WIRE.varint) {
      const read = varint(body, at);
      if (read === undefined) return undefined;
      at = read.end;
      if (field?.kind === "bool") value = read.value !== 0;
      else if (field?.kind === "uint32" && isUint32(read.value)) value = read.value;
    } else if (wire === WIRE.fixed64 || wire === WIRE.fixed32) {
      const end = at + (wire === WIRE.fixed64 ? 8 : 4);
      if (end > body.length) return undefined;
      if (field?.kind === "double" && wire === WIRE.fixed64) value = view.getFloat64(at, true);
      at = end;
    } else if (wire === WIRE.bytes) {
      const length = varint(body, at);
      if (length === undefined || length.value > body.length - length.end) return undefined;
      const bytes = body.subarray(length.end, length.end + length.value);
      at = length.end + bytes.length;
      if (field?.kind === "message") value = readProto(bytes, field.fields);
      else if (field?.kind === "string") value = utf8(bytes);
    } else return undefined;
    if (field === undefined) continue;
    if (value === undefined || (typeof value === "number" && !Number.isFinite(value))) return undefined;
    if (field.repeated === true) {
      const list = lists.get(field.name) ?? [];
      list.push(String(value));
      lists.set(field.name, list);
      values.set(field.name, list);
    }
    // protobuf would take the last, or merge: an honest client sends a field once, and readers must not differ.
    else if (values.has(field.name)) return undefined;
    else values.set(field.name, value);
  }
  return values;
}

/** Above 2^53 the value is not exact, and never needed: tags, lengths and uint32 end at 2^32. */
function varint(bytes: Uint8Array, from: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 10; index += 1) {
    const byte = bytes[from + index];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, end: from + index + 1 };
  }
  return undefined;
}
