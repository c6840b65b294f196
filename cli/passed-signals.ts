import type { StreamHandle } from "../src/api/client-stream.ts";
import { ExitCode } from "./failure.ts";

/** Passed on to the container's process, as Docker does it. */
const PASSED_ON = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
/** So many Ctrl-C within that time leave the process: one without a handler may ignore them. */
const LEAVE_PRESSES = 3;
const LEAVE_WITHIN_MS = 2_000;
const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGUSR1: 138, SIGUSR2: 140, SIGTERM: 143 };

/** What a shell reports of a program that a signal ended. */
export const signalExit = (signal: string): number => SIGNAL_EXIT[signal] ?? ExitCode.cloudFailed;

/** While `work` lasts, this process's signals go to the other side; `early`: there is none yet. */
export async function passingSignals<T>(
  parts: { readonly handle: () => StreamHandle | undefined; readonly early: (signal: NodeJS.Signals) => void; readonly nowMs: () => number },
  work: () => Promise<T>,
): Promise<T> {
  const presses: number[] = [];
  const onSignal = (signal: NodeJS.Signals): void => {
    const handle = parts.handle();
    if (handle === undefined) return parts.early(signal);
    if (signal === "SIGINT") {
      presses.push(parts.nowMs());
      const recent = presses.filter((atMs) => parts.nowMs() - atMs <= LEAVE_WITHIN_MS);
      if (recent.length >= LEAVE_PRESSES) return handle.detach();
    }
    handle.signal(signal);
  };
  for (const signal of PASSED_ON) process.on(signal, onSignal);
  try {
    return await work();
  } finally {
    for (const signal of PASSED_ON) process.off(signal, onSignal);
  }
}

/** Standard input, to its end. */
export async function passInput(handle: StreamHandle): Promise<void> {
  try {
    for await (const chunk of process.stdin) await handle.input(Buffer.from(chunk));
  } catch {
    // A terminal that went away or a file that cannot be read: for the container both are the end of its input.
  }
  handle.inputEnd();
}
