import { CcError, type Clock, type ErrorCode, sleep } from "../base/index.ts";
import { ConnectionLost } from "./client-channel.ts";
import type { StreamCall, StreamRequestOf } from "./client-messages.ts";
import type { StreamEnd, StreamHandle, StreamSink } from "./client-stream.ts";
import { createOutputCursor } from "./output-cursor.ts";
import type { StreamEvent } from "./streams.ts";

/**
 * A stream that outlives its connection. When that or the peer drops, it goes on through another endpoint, or the same once
 * it is back: behind the last position that was passed on, so that no byte of output is lost or doubled. What cannot be
 * taken up (the container is gone, its input was under way, nobody answers for 30 s) fails with that in one sentence.
 *
 * Input is never sent twice, and a container takes the loss of its reader for the input's end. So a stream whose input has
 * begun, and is not known to have arrived whole, is not taken up: what runs would have had half of it without a word.
 */
const RESUME_MS_MAX = 30_000;
const RESUME_PAUSE_MS = 500;
/** One that lasted so long has its whole time again when it breaks. */
const STEADY_MS = 1_000;
const SIGNALS_HELD_MAX = 16;

/** Refusals that another endpoint, or a moment, may change. */
export const PASSING_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "PEER_UNREACHABLE",
  "HOST_UNREACHABLE",
  "STARTING",
  "STORE_LOST",
  "TIMEOUT",
  "RATE_LIMITED",
]);

export type ResumeParts = {
  readonly clock: Clock;
  /** One stream, by any endpoint. `again`: it was open before, so what may pass is no refusal. */
  readonly open: <C extends StreamCall>(call: C, request: StreamRequestOf<C>, sink: StreamSink, again: boolean) => Promise<StreamEnd>;
};

export async function runResuming<C extends StreamCall>(parts: ResumeParts, call: C, request: StreamRequestOf<C>, sink: StreamSink): Promise<StreamEnd> {
  const { clock } = parts;
  const cursor = createOutputCursor();
  const gap = createHandle();
  let container = "container" in request ? (request.container ?? "") : "";
  let takesInput = call === "Run" ? (request as StreamRequestOf<"Run">).spec?.stdinOpen === true : "stdin" in request && request.stdin === true;

  const watched: StreamSink = {
    event(event: StreamEvent) {
      if (event.type === "placed") container = event.id;
      if (event.type === "lost") cursor.lost();
      if (event.type === "input-ended") {
        gap.inputArrived();
        takesInput = false;
      } else sink.event(event);
    },
    output(stream, bytes, position) {
      const fresh = cursor.take(stream, bytes, position);
      return fresh.length === 0 || sink.output(stream, fresh);
    },
    committed(handle) {
      if (gap.attach(handle)) sink.committed(gap.handle);
      else sink.event({ type: "progress", text: "" });
    },
  };

  const firstTime = (): Promise<StreamEnd> => parts.open(call, request, watched, false);
  const again = (): Promise<StreamEnd> => {
    const { position, openLines } = cursor.mark();
    if (call !== "Logs") return parts.open("Attach", { container, stdin: takesInput, from: position ?? 0 }, watched, true);
    const wish = request as StreamRequestOf<"Logs">;
    return parts.open("Logs", position === undefined ? wish : { ...wish, from: position, openLines, tail: -1 }, watched, true);
  };

  let work = firstTime;
  let lostAtMs: number | undefined;
  for (;;) {
    const openedMs = clock.monotonicMs();
    const passedOn = cursor.passedOn();
    try {
      return await Promise.race([work(), gap.detached]);
    } catch (error) {
      const brokeOff = error instanceof ConnectionLost;
      const stillAway = lostAtMs !== undefined && error instanceof CcError && PASSING_CODES.has(error.code);
      if (!brokeOff && !stillAway) throw lostAtMs === undefined ? error : lastWord(error);
      const nowMs = clock.monotonicMs();
      if (brokeOff && (lostAtMs === undefined || cursor.passedOn() > passedOn || nowMs - openedMs >= STEADY_MS)) lostAtMs = nowMs;
      const why = error instanceof Error ? error.message : String(error);
      if (gap.detach()) throw inputLost(why);
      if (nowMs - (lostAtMs ?? nowMs) + RESUME_PAUSE_MS > RESUME_MS_MAX)
        throw new CcError("PEER_UNREACHABLE", `the connection was lost and could not be taken up again within ${RESUME_MS_MAX / 1_000} s: ${why}`, {
          details: BROKEN_OFF,
        });
      sink.event({ type: "progress", text: "the connection was lost and is taken up again" });
      work = again;
      if (brokeOff && nowMs - openedMs >= STEADY_MS) continue;
    }
    const detached = await Promise.race([sleep(clock, RESUME_PAUSE_MS), gap.detached]);
    if (detached !== undefined) return detached;
  }
}

const BROKEN_OFF = { brokenOff: "true" };

/** Whether an error means that the stream broke off for good, while what runs may go on. */
export function isBrokenOff(error: unknown): error is CcError {
  return error instanceof CcError && error.details["brokenOff"] === "true";
}

function inputLost(why: string): CcError {
  return new CcError(
    "OUTCOME_UNKNOWN",
    `the connection was lost while standard input was under way (${why}): it may not have arrived whole, and has ended for the container`,
    { details: BROKEN_OFF },
  );
}

/** What ended a stream that was being taken up. */
function lastWord(error: unknown): unknown {
  if (!(error instanceof CcError)) return error;
  if (error.code === "NOT_FOUND")
    return new CcError(
      "NOT_FOUND",
      "the connection was lost, and the container is gone meanwhile (ended with --rm, or removed); the rest of its output cannot be had",
    );
  return new CcError(error.code, `the connection was lost, and taking it up again was refused: ${error.message}`, {
    details: { ...error.details, ...BROKEN_OFF },
  });
}

/** The caller's one handle, on whichever stream there is; in a gap it holds what the caller does. */
function createHandle(): {
  readonly handle: StreamHandle;
  /** Resolves when the caller has left while there was no stream. */
  readonly detached: Promise<StreamEnd>;
  /** True the first time. */
  attach(to: StreamHandle): boolean;
  /** The stream is lost. True when input may be lost with it. */
  detach(): boolean;
  inputArrived(): void;
} {
  let current: StreamHandle | undefined;
  let known = false;
  let input: "none" | "under way" | "arrived" = "none";
  let signals: string[] = [];
  const attached: (() => void)[] = [];
  let leave: (end: StreamEnd) => void;
  const detached = new Promise<StreamEnd>((resolve) => {
    leave = resolve;
  });
  const stream = async (): Promise<StreamHandle> => {
    while (current === undefined) await new Promise<void>((resolve) => void attached.push(resolve));
    return current;
  };
  const handle: StreamHandle = {
    async input(bytes) {
      const to = await stream();
      input = "under way";
      await to.input(bytes);
    },
    inputEnd: () =>
      void stream().then((to) => {
        input = "under way";
        to.inputEnd();
      }),
    signal(name) {
      if (current !== undefined) current.signal(name);
      else if (signals.length < SIGNALS_HELD_MAX) signals.push(name);
    },
    blob: (digest, sizeBytes) => current?.blob(digest, sizeBytes),
    resume: () => current?.resume(),
    detach: () => (current === undefined ? leave({ detached: true }) : current.detach()),
  };
  return {
    handle,
    detached,
    attach(to) {
      current = to;
      for (const name of signals) to.signal(name);
      signals = [];
      for (const resolve of attached.splice(0)) resolve();
      const first = !known;
      known = true;
      return first;
    },
    detach() {
      current = undefined;
      return input === "under way";
    },
    inputArrived() {
      input = "arrived";
    },
  };
}
