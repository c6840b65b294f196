import { create } from "@bufbuild/protobuf";
import { type BidAnswer, BidAnswerSchema } from "../api/gen/cc/v1/cloud_pb.ts";
import { type BidMessage, BidMessageSchema } from "../api/gen/cc/v1/mesh_pb.ts";
import { assertNever, type ContainerId, type ErrorCode, isContainerId, isErrorCode, isPeerId } from "../base/index.ts";
import type { Holding } from "../state/index.ts";

/** What one host answers to a bid request. */
export type Answer =
  | {
      readonly kind: "bid";
      readonly price: number;
      readonly terms: Readonly<Record<string, number>>;
      readonly validForMs: number;
      readonly unsettled?: Holding;
    }
  | { readonly kind: "refused"; readonly code: ErrorCode; readonly reason: string; readonly unsettled?: Holding }
  /** The container exists already. */
  | { readonly kind: "have-it"; readonly holding: Holding }
  /** The host is itself placing this container for the same token, and goes on. */
  | { readonly kind: "at-work" }
  /** A live container has the name. */
  | { readonly kind: "name-taken"; readonly otherId: ContainerId }
  /** The name is held for another create that is under way. */
  | { readonly kind: "name-held"; readonly otherId: ContainerId };

export const BID_VALID_MS = 2_000;
const TERMS_MAX = 32;
const REASON_CHARACTERS_MAX = 500;
const EPOCH_MAX = 2 ** 32 - 1;

/** The award of an earlier attempt of which the answering peer does not know how it ended. */
export function unsettledIn(answer: Answer | undefined): Holding | undefined {
  return answer?.kind === "bid" || answer?.kind === "refused" ? answer.unsettled : undefined;
}

/** The message of an answer; its `answer` part is also what `--explain` shows. */
export function toBidMessage(requestId: string, answer: Answer): BidMessage {
  const message = create(BidMessageSchema, { requestId, answer: toRow(answer) });
  switch (answer.kind) {
    case "bid":
      message.validForMs = answer.validForMs;
      return withHolding(message, answer.unsettled);
    case "refused":
      return withHolding(message, answer.unsettled);
    case "have-it":
      return withHolding(message, answer.holding);
    case "at-work":
      return message;
    case "name-taken":
    case "name-held":
      message.otherId = answer.otherId;
      return message;
    default:
      return assertNever(answer);
  }
}

/** Undefined for what no host of ours would say: the answer counts as not given. */
export function fromBidMessage(message: BidMessage): Answer | undefined {
  const row = message.answer;
  if (row === undefined) return undefined;
  const unsettled = holdingIn(message);
  switch (row.kind) {
    case "bid": {
      const terms = Object.entries(row.terms);
      const numbers = [row.price, message.validForMs, ...terms.map(([, value]) => value)];
      if (terms.length > TERMS_MAX || !numbers.every(Number.isFinite) || message.validForMs <= 0) return undefined;
      return { kind: "bid", price: row.price, terms: row.terms, validForMs: Math.min(message.validForMs, BID_VALID_MS), ...(unsettled && { unsettled }) };
    }
    case "refused": {
      const { code, reason } = splitReason(row.reason);
      return { kind: "refused", code, reason, ...(unsettled && { unsettled }) };
    }
    case "have-it":
      return unsettled === undefined ? undefined : { kind: "have-it", holding: unsettled };
    case "at-work":
      return { kind: "at-work" };
    case "name-taken":
    case "name-held":
      return isContainerId(message.otherId) ? { kind: row.kind, otherId: message.otherId } : undefined;
    default:
      // A later version's kind: it is no bid, and its host is not silent.
      return { kind: "refused", code: "NOT_YET", reason: "it answered in a way that this peer does not know" };
  }
}

/** What `--explain` and a refusal show of an answer, but for the host's own columns. */
export function toRow(answer: Answer): BidAnswer {
  const row = create(BidAnswerSchema, { kind: answer.kind });
  switch (answer.kind) {
    case "bid":
      row.price = answer.price;
      row.terms = { ...answer.terms };
      return row;
    case "refused":
      row.reason = `${answer.code}: ${answer.reason}`;
      return row;
    case "have-it":
      row.reason = `the container is there already, held by ${answer.holding.holder}`;
      return row;
    case "at-work":
      row.reason = "it is placing this container itself";
      return row;
    case "name-taken":
      row.reason = `the name is taken by ${answer.otherId}`;
      return row;
    case "name-held":
      row.reason = `the name is held for ${answer.otherId}`;
      return row;
    default:
      return assertNever(answer);
  }
}

function splitReason(text: string): { code: ErrorCode; reason: string } {
  const short = text.slice(0, REASON_CHARACTERS_MAX);
  const colon = short.indexOf(": ");
  const code = short.slice(0, Math.max(0, colon));
  return isErrorCode(code) ? { code, reason: short.slice(colon + 2) } : { code: "NO_ROOM", reason: short };
}

function withHolding(message: BidMessage, holding: Holding | undefined): BidMessage {
  if (holding !== undefined) {
    message.holder = holding.holder;
    message.epoch = holding.epoch;
  }
  return message;
}

function holdingIn(message: BidMessage): Holding | undefined {
  return isPeerId(message.holder) && message.epoch >= 1 && message.epoch <= EPOCH_MAX ? { holder: message.holder, epoch: message.epoch } : undefined;
}
