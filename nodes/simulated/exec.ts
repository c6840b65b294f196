import type { ExecExit, ExecProcess, ExecSpec } from "../../src/containers/index.ts";
import type { HostClock } from "./timeline.ts";

/** One more process in a simulated container: as its own, `sleep MS EXIT`; it reads and writes nothing. */
export function simulatedExec(
  exec: ExecSpec,
  clock: HostClock,
  container: { readonly isRunning: () => boolean; readonly onChange: (listener: () => void) => () => void },
): ExecProcess {
  const [, lastsMs = "0", exitCode = "0"] = exec.command;
  let settle: (exit: ExecExit) => void = () => undefined;
  const exit = new Promise<ExecExit>((resolve) => {
    settle = resolve;
  });
  const finish = (code: number, withContainer = false): void => {
    cancel();
    undo();
    settle({ exitCode: code, withContainer });
  };
  const undo = container.onChange(() => {
    if (!container.isRunning()) finish(137, true);
  });
  const cancel = Number(lastsMs) > 0 ? clock.after(Number(lastsMs), () => finish(Number(exitCode))) : () => undefined;
  return {
    exit,
    output: () => ({ [Symbol.asyncIterator]: () => ({ next: () => exit.then(() => ({ done: true, value: undefined })) }) }),
    write: async () => undefined,
    endInput: async () => undefined,
    kill: async (signalName) => finish(signalName === "SIGKILL" ? 137 : 143),
    end: async () => finish(129),
  };
}
