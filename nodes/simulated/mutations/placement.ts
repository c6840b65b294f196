import type { Mutation } from "./mutation.ts";

/** Rules about finding a host, names and tokens. */
export const PLACEMENT_MUTATIONS: readonly Mutation[] = [
  {
    name: "a name is held for nobody",
    hazard: "two-creates",
    patches: [
      {
        file: "src/placement/name-holds.ts",
        find: "if (held !== undefined && held.id !== id && held.requester !== requester) return held.id;",
        replace: "void held;",
      },
    ],
  },
  {
    name: "only the last token of a start is remembered",
    hazard: "retry-elsewhere",
    scenario: "after a newer restart",
    patches: [{ file: "src/containers/phase-teller.ts", find: "const EARLIER_RUN_TOKENS_MAX = 16;", replace: "const EARLIER_RUN_TOKENS_MAX = 0;" }],
  },
  {
    name: "each attempt is a new token",
    hazard: "two-ids",
    patches: [
      {
        file: "src/api/client.ts",
        find: "signBody(call, peer, body)",
        replace: "signBody(call, peer, { ...body, ...(isWrite ? { token: newToken() } : {}) })",
      },
    ],
  },
  {
    name: "what is not known is not asked around",
    hazard: "absent-succeeds",
    patches: [
      {
        file: "nodes/peer/core/handlers/reads.ts",
        find: "unknown.length > 0 ? await askAround(unknown) : []",
        replace: "unknown.length > 1_000 ? await askAround(unknown) : []",
      },
    ],
  },
  {
    name: "silence after an award is taken for 'no'",
    hazard: "lost-award",
    scenario: "answers to awards are lost",
    patches: [
      {
        file: "src/placement/after-award.ts",
        find: 'if (lapsed && unreachable) return { do: "next" };',
        replace: 'if (lapsed || unreachable || nowMs > state.sinceMs + 900) return { do: "next" };',
      },
    ],
  },
  {
    name: "no last look before the start",
    hazard: "lost-award",
    scenario: "better claim before the start",
    patches: [
      {
        file: "src/placement/holder.ts",
        find: "if (known.best.holder !== this.#parts.mesh.self) return refuse",
        replace: 'if (known.best.holder === "" as never) return refuse',
      },
      {
        file: "nodes/peer/core/desired.ts",
        find: "if (best !== undefined && best.holder !== self) return",
        replace:
          "if (best !== undefined && best.holder !== self && (container.claims.find(({ holder }) => holder === self)?.phase?.startedAtMs ?? 0) > 0) return",
      },
    ],
  },
  {
    name: "nobody says that it has the container or is at work on it",
    hazard: "retry-elsewhere",
    patches: [
      { file: "src/placement/holder-bids.ts", find: 'if (known?.best !== undefined) return { kind: "have-it", holding: known.best };', replace: "" },
      {
        file: "src/placement/holder-bids.ts",
        find: 'if (active !== undefined && (active.awarded || mesh.self < requester)) return { kind: "at-work" };',
        replace: "void active;",
      },
      { file: "src/placement/holder-bids.ts", find: "      this.#attempts.addRival(id, requester, clock.monotonicMs());\n", replace: "" },
      {
        file: "src/placement/holder-awards.ts",
        find: 'if (best !== undefined && (beaten || liveness.of(best.holder).standing !== "unreachable"))',
        replace: 'if (best !== undefined && beaten && liveness.of(best.holder).standing !== "alive" && false)',
      },
    ],
  },
  {
    name: "a claim that is pulling counts for nothing",
    hazard: "slow-pull",
    patches: [
      {
        file: "src/placement/counted-claims.ts",
        find: 'readPhase(phase.content)?.phase === "yielded"',
        replace: '["yielded", "pulling"].includes(readPhase(phase.content)?.phase ?? "")',
      },
    ],
  },
  {
    name: "the silent are not asked before a refusal",
    hazard: "lost-bids",
    patches: [
      {
        file: "src/placement/awaited.ts",
        find: "const open = unanswered.filter((host) => host.eligible && !isGivenUp(round, host.peer, nowMs));",
        replace: "const open = unanswered.filter((host) => host.eligible && !isGivenUp(round, host.peer, nowMs) && round.asked.has(host.peer));",
      },
    ],
  },
  {
    name: "who gives way says that it has ended",
    hazard: "both-yield",
    patches: [
      {
        file: "nodes/peer/core/desired.ts",
        find: 'return { kind: "removed", as: "yielded", timeoutMs: 0 };',
        replace: 'return { kind: "removed", as: "gone", timeoutMs: 0 };',
      },
    ],
  },
  {
    name: "nobody gives way",
    hazard: "both-yield",
    patches: [
      {
        file: "nodes/peer/core/desired.ts",
        find: "if (best !== undefined && best.holder !== self) return",
        replace: "if (best !== undefined && best.holder !== self && best.epoch > 64) return",
      },
    ],
  },
  {
    name: "an award that gets no answer is waited for, for ever",
    hazard: "half-reachable",
    patches: [
      { file: "src/placement/after-award.ts", find: 'if (nowMs >= endMs) return { do: "unknown" };', replace: "" },
      { file: "src/placement/after-award.ts", find: "untilMs: Math.min(endMs, Math.max(", replace: "untilMs: Math.min(nowMs + 60_000, Math.max(" },
      { file: "src/placement/award-trip.ts", find: 'liveness.of(peer).standing !== "unreachable");', replace: "liveness.of(peer).standing === undefined);" },
    ],
  },
  {
    name: "every unknown id is asked around anew",
    hazard: "ask-storm",
    patches: [{ file: "nodes/peer/core/ask-around.ts", find: "filter((item) => !rounds.has(roundOf(item)));", replace: 'filter((item) => item !== "");' }],
  },
  {
    name: "an award is taken without a look at the room",
    hazard: "no-room",
    scenario: "twice the room",
    patches: [
      {
        file: "src/placement/capacity.ts",
        find: '    if (lacks !== undefined) return refuse("NO_ROOM", lacks);\n    this.count(id, needs);',
        replace: "    void lacks;\n    this.count(id, needs);",
      },
    ],
  },
  {
    name: "a claim that gave way holds its room for ever",
    hazard: "no-room",
    patches: [
      { file: "src/placement/counted-claims.ts", find: 'readPhase(phase.content)?.phase === "yielded"', replace: 'readPhase(phase.content)?.phase === ""' },
    ],
  },
  {
    name: "a claim is told before it is fsynced",
    hazard: "slow-pull",
    scenario: "not fsynced when the power fails",
    patches: [{ file: "src/state/replica-service.ts", find: "if (options.isClaim === true) await", replace: "if (options.isClaim === true) void" }],
  },
  {
    name: "a neighbour that compares records gets what is not fsynced",
    hazard: "slow-pull",
    scenario: "not fsynced when the power fails",
    patches: [
      {
        file: "src/state/record-index.ts",
        find: "return this.#heldBack.has(id) ? undefined : this.#records.get(id);",
        replace: "return this.#records.get(id);",
      },
    ],
  },
];
