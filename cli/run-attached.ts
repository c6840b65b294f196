import type { CloudClient } from "../src/api/client.ts";
import type { BidAnswer, RequestOf, Written } from "../src/api/client-messages.ts";
import { decodeAnswers, decodeWritten } from "../src/api/client-replies.ts";
import { isBrokenOff } from "../src/api/client-resume.ts";
import type { StreamHandle } from "../src/api/client-stream.ts";
import type { StreamEvent } from "../src/api/streams.ts";
import { CcError } from "../src/base/index.ts";
import { ExitCode } from "./failure.ts";
import { createGatheringSink, createOutputSink } from "./output-sink.ts";
import { passInput, passingSignals, signalExit } from "./passed-signals.ts";

const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export type Shown = {
  readonly note: (text: string) => void;
  readonly warn: (text: string) => void;
  readonly copies: (copies: number) => void;
  readonly answers: (answers: readonly BidAnswer[]) => void;
  readonly json: (value: unknown) => void;
};

/** Nobody to pass a signal on to yet. The request may have been sent: it is then carried out. */
function leaveUnplaced(signal: NodeJS.Signals, note: (text: string) => void): never {
  note(`${signal} before the container was placed; if it was asked for already it still starts: look with cc ps`);
  process.exit(signalExit(signal));
}

/** While `work` places a container that nobody will be attached to: what an interruption leaves open is said. */
export async function untilPlaced<T>(work: () => Promise<T>, note: (text: string) => void): Promise<T> {
  const onSignal = (signal: NodeJS.Signals): never => leaveUnplaced(signal, note);
  for (const signal of ENDING) process.on(signal, onSignal);
  try {
    return await work();
  } finally {
    for (const signal of ENDING) process.off(signal, onSignal);
  }
}

/** Runs a container with this process standing for it: output, input, signals, exit code. */
export async function runAttached(
  client: CloudClient,
  request: RequestOf<"Run">,
  options: { readonly input: boolean; readonly json: boolean; readonly remember: (written: readonly Written[]) => void; readonly nowMs: () => number },
  shown: Shown,
): Promise<number> {
  let handle: StreamHandle | undefined;
  let placed: { readonly id: string; readonly host: string } | undefined;
  const onEvent = (event: StreamEvent): void => {
    if (event.type === "explain") shown.answers(decodeAnswers(Array.isArray(event.answers) ? event.answers : []));
    if (event.type !== "placed") return;
    placed = { id: String(event.id), host: String(event.host) };
    options.remember(decodeWritten(Array.isArray(event.wrote) ? event.wrote : []));
    for (const warning of Array.isArray(event.warnings) ? event.warnings : []) shown.warn(String(warning));
    shown.copies(event.copies);
  };
  const onCommitted = (opened: StreamHandle): void => {
    handle = opened;
    if (options.input) void passInput(opened);
  };
  const hooks = { warn: shown.warn, onEvent, onCommitted };
  const gathering = createGatheringSink(hooks);
  const output = createOutputSink(hooks);

  try {
    const end = await passingSignals({ handle: () => handle, early: (signal) => leaveUnplaced(signal, shown.note), nowMs: options.nowMs }, () =>
      client.stream("Run", { ...request, attach: true }, options.json ? gathering.sink : output.sink),
    );
    if (end.detached === true) {
      shown.note(`detached; ${placed?.id ?? "the container"} goes on: cc logs -f ${placed?.id ?? ""} follows it, cc stop ${placed?.id ?? ""} ends it`);
      return signalExit("SIGINT");
    }
    if (end.reason !== undefined && end.reason !== "") shown.note(`the container ended: ${end.reason}`);
    if (options.json) {
      shown.json({
        id: placed?.id ?? "",
        host: placed?.host ?? "",
        exitCode: end.exitCode ?? null,
        reason: end.reason ?? "",
        stdout: gathering.text("stdout"),
        stderr: gathering.text("stderr"),
        truncated: gathering.truncated(),
      });
    }
    return end.exitCode === undefined ? ExitCode.cloudFailed : end.exitCode & 0xff;
  } catch (error) {
    output.clearProgress();
    if (placed !== undefined && isBrokenOff(error)) throw new CcError(error.code, `${error.message}; ${placed.id} goes on; cc logs -f ${placed.id} follows it`);
    throw error;
  }
}
