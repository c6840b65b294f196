import type { SignedRequest } from "../api/gen/cc/v1/records_pb.ts";
import { CcError, type ContainerId, isContainerId, type Result } from "../base/index.ts";
import { containerIdOf } from "../state/index.ts";
import { Attempt, type SilentHosts } from "./attempt.ts";
import type { Attempts } from "./attempts.ts";
import { BoundedMemory } from "./bounded-memory.ts";
import type { Holder } from "./holder.ts";
import { notPlaced, type PlacementOutcome, refusalMessage } from "./outcome.ts";
import type { PlacementParts, RunAsked } from "./ports.ts";
import { sameSpec, TokenMemory } from "./token-memory.ts";

/** Several calls with one token are one attempt; it is cut off when the last of them is. */
type Underway = { readonly attempt: Attempt; readonly outcome: Promise<PlacementOutcome>; readonly cut: AbortController; callers: number };

/** The half of placement that users talk to: it accepts a request and finds the host that takes it. */
export class Requester {
  readonly #parts: PlacementParts;
  readonly #attempts: Attempts;
  readonly #holder: Holder;
  readonly #tokens = new TokenMemory();
  readonly #silentHosts: SilentHosts = new BoundedMemory({ entriesMax: 1_024, keepMs: 60_000 });
  readonly #underway = new Map<ContainerId, Underway>();
  #running: AbortController | undefined;
  #handles = false;

  constructor(parts: PlacementParts, attempts: Attempts, holder: Holder) {
    this.#parts = parts;
    this.#attempts = attempts;
    this.#holder = holder;
  }

  start(): void {
    if (this.#running !== undefined) return;
    this.#running = new AbortController();
    if (this.#handles) return;
    this.#handles = true;
    this.#parts.mesh.handle("bid", (message, from) => {
      const id = message.requestId.slice(0, message.requestId.indexOf("."));
      if (isContainerId(id)) this.#underway.get(id)?.attempt.onAnswer(from, message);
      return Promise.resolve({});
    });
  }

  stop(): void {
    this.#running?.abort(new CcError("CANCELLED", "placement has stopped"));
    this.#running = undefined;
  }

  /**
   * Places a container: `asked` is the checked request of a user who addressed this peer. The same token again, at the same
   * time or later, is the same container. Aborting stops the asking; an award that is out is followed to its end.
   */
  async place(asked: RunAsked, request: SignedRequest, signal: AbortSignal): Promise<PlacementOutcome> {
    signal.throwIfAborted();
    const running = this.#running;
    if (running === undefined) return notPlaced("STARTING", "this peer is not ready to place containers; ask again or ask another");
    if (asked.addressedTo !== this.#parts.mesh.self) return notPlaced("WRONG_PEER", "the request is addressed to another peer");
    const id = containerIdOf(asked.key, asked.token);
    const used = this.#useToken(id, asked.spec);
    if (!used.ok) return notPlaced(used.code, used.message);
    const { name } = asked.requirements;
    // Here, before anything waits: of two at once at this peer the first goes on.
    const placing = name === "" ? undefined : this.#attempts.placingName(name, id);
    if (placing !== undefined) return notPlaced("NAME_HELD", refusalMessage("NAME_HELD", { name, otherId: placing, rows: [] }));
    const underway = this.#underway.get(id) ?? this.#begin(id, asked, request, running.signal);
    if (underway === undefined) return notPlaced("RATE_LIMITED", "this peer is placing as many containers as it can; ask another or try again");
    underway.callers += 1;
    const leave = (): void => {
      underway.callers -= 1;
      if (underway.callers === 0) underway.cut.abort(signal.reason);
    };
    signal.addEventListener("abort", leave, { once: true });
    try {
      return await underway.outcome;
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  /** Where the container's record is known it decides what the token stands for, else what this peer remembers. */
  #useToken(id: ContainerId, spec: string): Result<true> {
    const { view, requests, clock } = this.#parts;
    const request = view.container(id)?.request;
    if (request === undefined) return this.#tokens.use(id, spec, clock.monotonicMs());
    const recorded = requests.read(request);
    return recorded.ok ? sameSpec(recorded.value.spec, spec) : recorded;
  }

  #begin(id: ContainerId, asked: RunAsked, request: SignedRequest, stopped: AbortSignal): Underway | undefined {
    if (this.#attempts.isFull) return undefined;
    const attempt = new Attempt(id, asked, request, { parts: this.#parts, attempts: this.#attempts, holder: this.#holder, silentHosts: this.#silentHosts });
    this.#attempts.begin(id, attempt);
    const cut = new AbortController();
    const outcome = attempt.run(AbortSignal.any([cut.signal, stopped])).finally(() => {
      this.#attempts.end(id);
      this.#underway.delete(id);
    });
    const underway = { attempt, outcome, cut, callers: 0 };
    this.#underway.set(id, underway);
    return underway;
  }
}
