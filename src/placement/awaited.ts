import type { ContainerId, ErrorCode, PeerId } from "../base/index.ts";
import type { Holding } from "../state/index.ts";
import type { Answer } from "./answers.ts";

/** Answers are collected for this long, less if all have come. */
export const WINDOW_MS = 50;
/** A host that was asked directly and says nothing for this long counts as refusing, and is named. */
export const SILENCE_MS = 1_000;
/** A bid this close to its end would lapse on the way: its host is asked again instead. */
const LAPSE_MARGIN_MS = 500;

export type AskedHost = {
  readonly peer: PeerId;
  readonly name: string;
  readonly zone: string;
  /** Fits the host and zone that the user asked for. Others are asked for the name alone. */
  readonly eligible: boolean;
};

type Given = { readonly answer: Answer; readonly atMs: number };

/** One round of asking: who is expected, who answered. Times are the requester's monotonic clock. A value: changes give a new one. */
export type Round = {
  readonly self: PeerId;
  readonly named: boolean;
  readonly startedAtMs: number;
  /** Sorted by peer id: the lowest that answers decides about the name. */
  readonly hosts: readonly AskedHost[];
  readonly answers: ReadonlyMap<PeerId, Given>;
  /** Who was asked directly too, and when. */
  readonly asked: ReadonlyMap<PeerId, number>;
  /** Peers that showed a request of the same user, token and spec that is addressed to them: they may be at work on it. */
  readonly rivals: ReadonlySet<PeerId>;
  /** Peers that the user says were asked before: they are believed too when they say that they are at work. */
  readonly askedBefore: ReadonlySet<PeerId>;
};

export type LiveBid = { readonly host: PeerId; readonly price: number; readonly atMs: number; readonly validForMs: number };

export type RoundStep =
  | { readonly do: "wait"; readonly untilMs: number }
  | { readonly do: "ask"; readonly peers: readonly PeerId[] }
  | { readonly do: "award"; readonly bids: readonly LiveBid[] }
  | { readonly do: "found"; readonly holding: Holding }
  | { readonly do: "wait-for"; readonly peer: PeerId }
  | { readonly do: "refuse"; readonly code: ErrorCode; readonly otherId?: ContainerId };

export function startRound(
  round: {
    readonly self: PeerId;
    readonly named: boolean;
    readonly hosts: readonly AskedHost[];
    readonly rivals: Iterable<PeerId>;
    readonly askedBefore: Iterable<PeerId>;
  },
  nowMs: number,
): Round {
  const hosts = [...round.hosts].sort((a, b) => (a.peer < b.peer ? -1 : 1));
  return {
    self: round.self,
    named: round.named,
    startedAtMs: nowMs,
    hosts,
    answers: new Map(),
    asked: new Map(),
    rivals: new Set(round.rivals),
    askedBefore: new Set(round.askedBefore),
  };
}

/** Answers of hosts that were not asked are not kept. A later answer replaces an earlier one. */
export function withAnswer(round: Round, peer: PeerId, answer: Answer, nowMs: number): Round {
  if (!round.hosts.some((host) => host.peer === peer)) return round;
  return { ...round, answers: new Map(round.answers).set(peer, { answer, atMs: nowMs }) };
}

export function withAsked(round: Round, peers: readonly PeerId[], nowMs: number): Round {
  const asked = new Map(round.asked);
  for (const peer of peers) asked.set(peer, nowMs);
  return { ...round, asked };
}

/** Its bid lapsed: it is silent again, and will be asked directly. */
export function withoutAnswer(round: Round, peer: PeerId): Round {
  const answers = new Map(round.answers);
  const asked = new Map(round.asked);
  answers.delete(peer);
  asked.delete(peer);
  return { ...round, answers, asked };
}

export function withRival(round: Round, peer: PeerId): Round {
  return { ...round, rivals: new Set(round.rivals).add(peer) };
}

/** What is to be done now. `awarded`: an award of this placement has gone out, so that it no longer gives way to a lower requester. */
export function nextStep(round: Round, nowMs: number, awarded: boolean): RoundStep {
  const decided = decidedByOthers(round, awarded);
  if (decided !== undefined) return decided;

  const unanswered = round.hosts.filter((host) => !hasAnswered(round, host.peer, nowMs));
  // Hosts that were asked again, directly, get a window too: else whoever answers first would win, not whoever is best.
  const windowEndMs = Math.max(round.startedAtMs, ...unanswered.map((host) => round.asked.get(host.peer) ?? 0)) + WINDOW_MS;
  if (unanswered.length > 0 && nowMs < windowEndMs) return { do: "wait", untilMs: windowEndMs };

  const name = round.named ? nameStep(round, nowMs) : undefined;
  if (name !== undefined) return name;

  const rival = rivalStep(round, unanswered, nowMs);
  if (rival !== undefined) return rival;

  const bids = liveBids(round, nowMs);
  if (bids.length > 0) return { do: "award", bids };

  const open = unanswered.filter((host) => host.eligible && !isGivenUp(round, host.peer, nowMs));
  const notAsked = open.filter((host) => !round.asked.has(host.peer)).map((host) => host.peer);
  if (notAsked.length > 0) return { do: "ask", peers: notAsked };
  if (open.length > 0) return { do: "wait", untilMs: Math.min(...open.map((host) => (round.asked.get(host.peer) ?? nowMs) + SILENCE_MS)) };
  return { do: "refuse", code: refusalCode(round) };
}

/** Answers that end a round, whoever is still missing. */
function decidedByOthers(round: Round, awarded: boolean): RoundStep | undefined {
  for (const { answer } of round.answers.values()) {
    if (answer.kind === "have-it") return { do: "found", holding: answer.holding };
  }
  for (const { answer } of round.answers.values()) {
    if (answer.kind === "name-taken") return { do: "refuse", code: "NAME_TAKEN", otherId: answer.otherId };
  }
  for (const [peer, { answer }] of round.answers) {
    // Without the rival's own signed request, or the user's word, any host could hold up any placement by saying so.
    if (answer.kind === "at-work" && isBelieved(round, peer)) return { do: "wait-for", peer };
  }
  if (awarded) return undefined;
  const lower = [...round.rivals].filter((peer) => peer < round.self).sort()[0];
  return lower === undefined ? undefined : { do: "wait-for", peer: lower };
}

/**
 * 'Name held' counts only from the lowest peer that answered. Before a name is used the lowest has answered, or was asked
 * directly and kept silent: else two creates at once would each listen to another host.
 */
function nameStep(round: Round, nowMs: number): RoundStep | undefined {
  for (const host of round.hosts) {
    const given = round.answers.get(host.peer);
    if (given?.answer.kind === "name-held") return { do: "refuse", code: "NAME_HELD", otherId: given.answer.otherId };
    // A bid that has lapsed still said that the name was free: its host holds it for ten seconds.
    if (given !== undefined) return undefined;
    if (isGivenUp(round, host.peer, nowMs)) continue;
    const askedAtMs = round.asked.get(host.peer);
    return askedAtMs === undefined ? { do: "ask", peers: [host.peer] } : { do: "wait", untilMs: askedAtMs + SILENCE_MS };
  }
  return undefined;
}

/**
 * A rival that is known from its own request may have its award out already, whatever its id: before anybody is awarded it has
 * said so, or kept silent.
 */
function rivalStep(round: Round, unanswered: readonly AskedHost[], nowMs: number): RoundStep | undefined {
  const rival = unanswered.find((host) => round.rivals.has(host.peer) && !isGivenUp(round, host.peer, nowMs));
  if (rival === undefined) return undefined;
  const askedAtMs = round.asked.get(rival.peer);
  return askedAtMs === undefined ? { do: "ask", peers: [rival.peer] } : { do: "wait", untilMs: askedAtMs + SILENCE_MS };
}

function hasAnswered(round: Round, peer: PeerId, nowMs: number): boolean {
  const given = round.answers.get(peer);
  if (given === undefined) return false;
  switch (given.answer.kind) {
    case "bid":
      return isLive(given.answer.validForMs, given.atMs, nowMs);
    case "at-work":
      // Its proof may be on its way; at the window's end it counts as an answer all the same.
      return isBelieved(round, peer) || nowMs >= round.startedAtMs + WINDOW_MS;
    default:
      return true;
  }
}

function isBelieved(round: Round, peer: PeerId): boolean {
  return round.rivals.has(peer) || round.askedBefore.has(peer);
}

function isGivenUp(round: Round, peer: PeerId, nowMs: number): boolean {
  const askedAtMs = round.asked.get(peer);
  return askedAtMs !== undefined && nowMs >= askedAtMs + SILENCE_MS;
}

function isLive(validForMs: number, atMs: number, nowMs: number): boolean {
  return nowMs < atMs + validForMs - LAPSE_MARGIN_MS;
}

function liveBids(round: Round, nowMs: number): LiveBid[] {
  const bids: LiveBid[] = [];
  for (const host of round.hosts) {
    const given = round.answers.get(host.peer);
    if (!host.eligible || given?.answer.kind !== "bid" || !isLive(given.answer.validForMs, given.atMs, nowMs)) continue;
    bids.push({ host: host.peer, price: given.answer.price, atMs: given.atMs, validForMs: given.answer.validForMs });
  }
  return bids;
}

/** One code where all refuse alike (a revoked key, say), else 'no room': the hosts' own words follow in the message. */
function refusalCode(round: Round): ErrorCode {
  const eligible = round.hosts.filter((host) => host.eligible);
  const codes = new Set<ErrorCode>();
  for (const host of eligible) {
    const given = round.answers.get(host.peer);
    codes.add(given?.answer.kind === "refused" ? given.answer.code : "NO_ROOM");
  }
  const [only] = codes;
  return codes.size === 1 && only !== undefined ? only : "NO_ROOM";
}
