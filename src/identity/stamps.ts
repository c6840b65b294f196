import { type MeshId, ok, type PeerId, type Result, refuse } from "../base/index.ts";
import { type Addressing, readAddressing, requestHash } from "./admin-requests.ts";
import { base64 } from "./encodings.ts";
import { type RequestParameters, requestParameters, type SignedRequest } from "./request-signature.ts";

/** A point of the hybrid clock, as a record's version has it: milliseconds and a counter. */
export type Moment = { readonly timeMs: number; readonly counter: number };

/** Which peer took a request in, and when. */
export type Stamp = Moment & { readonly writer: PeerId };

/** Signed time and stamp: so far apart they may be. Also how far off a user's clock may be. */
export const SIGNED_TIME_WINDOW_MS = 5 * 60_000;

/** Whether a stamp is near enough to when the user signed. */
export function isStampedInTime(stampedMs: number, createdS: number): boolean {
  return Math.abs(stampedMs - createdS * 1_000) <= SIGNED_TIME_WINDOW_MS;
}

export const NEVER: Moment = { timeMs: Number.POSITIVE_INFINITY, counter: 0 };

export function isBefore(a: Moment, b: Moment): boolean {
  return compareMoments(a, b) < 0;
}

export function compareMoments(a: Moment, b: Moment): number {
  // Not by subtraction: two times that never come are equal.
  if (a.timeMs !== b.timeMs) return a.timeMs < b.timeMs ? -1 : 1;
  return a.counter - b.counter;
}

export function earlier(a: Moment, b: Moment): Moment {
  return isBefore(b, a) ? b : a;
}

/** A request object never changes, and is kept with its record: judging it again, whenever another record comes, reads it no second time. */
const read = new WeakMap<SignedRequest, Result<{ readonly to: Addressing; readonly parameters: RequestParameters }>>();

function readRequest(request: SignedRequest): Result<{ readonly to: Addressing; readonly parameters: RequestParameters }> {
  const parameters = requestParameters(request.signatureInput);
  if (!parameters.ok) return parameters;
  const to = readAddressing(request.body);
  return to.ok ? ok({ to: to.value, parameters: parameters.value }) : to;
}

/** What a stamped request says of itself, if its stamp is one: by the peer that it addresses, of this mesh, near its signed time. */
export function readStamped(request: SignedRequest, stamp: Stamp, meshId: MeshId): Result<{ readonly to: Addressing; readonly parameters: RequestParameters }> {
  const said = read.get(request) ?? readRequest(request);
  read.set(request, said);
  if (!said.ok) return said;
  const { to, parameters } = said.value;
  if (to.mesh !== meshId) return refuse("WRONG_MESH", "the request speaks to another mesh");
  if (to.peer !== stamp.writer) return refuse("WRONG_PEER", "the request was stamped by a peer that it does not address");
  if (!isStampedInTime(stamp.timeMs, parameters.createdS)) return refuse("CLOCK_SKEW", "the request was stamped more than 5 minutes from its signed time");
  return said;
}

export type StampedRecord = { readonly key: string; readonly request: SignedRequest; readonly stamp: Stamp };

/**
 * Of all records that one signed request (its key and nonce) became under one record key, the one with the lowest stamp
 * counts, the others are void: a peer that stamps an old 'stop' again after a 'start' stops nothing. One request may become
 * several records, as `cc stop A B` does. Gives what counts, in the order of stamps.
 */
export function effectiveStamps<R extends StampedRecord>(records: Iterable<R>): R[] {
  const first = new Map<string, R>();
  for (const record of records) {
    const parameters = requestParameters(record.request.signatureInput);
    if (!parameters.ok) continue;
    const name = `${parameters.value.keyId} ${parameters.value.nonce} ${record.key}`;
    const other = first.get(name);
    if (other === undefined || compareStamped(record, other) < 0) first.set(name, record);
  }
  return [...first.values()].sort(compareStamped);
}

/** Total, so that every host picks the same. */
function compareStamped(a: StampedRecord, b: StampedRecord): number {
  return (
    compareMoments(a.stamp, b.stamp) ||
    compareText(a.key, b.key) ||
    compareText(base64(requestHash(a.request)), base64(requestHash(b.request))) ||
    compareText(a.stamp.writer, b.stamp.writer)
  );
}

export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
