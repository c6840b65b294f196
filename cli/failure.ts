import { asCcError, CcError, type Refusal } from "../src/base/index.ts";
import { plainText } from "./terminal.ts";

export const ExitCode = { done: 0, failed: 1, usage: 2, cloudFailed: 125, notInvokable: 126, notFound: 127 } as const;

/** Wrong usage: exit code 2, and a hint to the command's help. */
export class UsageError extends CcError {
  constructor(message: string) {
    super("BAD_USAGE", message);
  }
}

/** The value of a result that stems from what the user typed: a refusal is wrong usage. */
export function usable<T>(result: { readonly ok: true; readonly value: T } | Refusal): T {
  if (result.ok) return result.value;
  throw result.code === "NOT_YET" ? new CcError(result.code, result.message) : new UsageError(result.message);
}

/** The value of a result that stems from what lies on this machine: a refusal is a failure like a peer's. */
export function valueOf<T>(result: { readonly ok: true; readonly value: T } | Refusal): T {
  if (result.ok) return result.value;
  throw new CcError(result.code, result.message);
}

type OclifError = Error & { readonly oclif?: { readonly exit?: unknown } };

/** oclif's complaints about usage are several lines; ours is one, without its hints. */
function fromOclif(error: Error): UsageError {
  const text = error.message
    .replace(/\n?See more help with --help/g, "")
    .replace(/\n+Note: [\s\S]*$/, "")
    .replace(/^The following errors? occurred:\s*/, "")
    .replace(/^Parsing (--\S+)\s*/, "$1: ")
    .replace(/^Missing required flag (\S+)/gm, "--$1 is missing")
    .replace(/^Missing \d+ required args?:?\s*/, "something is missing: ");
  return new UsageError(
    plainEscapes(text)
      .trim()
      .split(/\s*\n\s*/)
      .join("; "),
  );
}

/** oclif colours parts of its messages where stderr is a terminal. */
function plainEscapes(text: string): string {
  return text.replace(/\u001b\[[\d;]*m/g, "");
}

export function asFailure(thrown: unknown): CcError {
  if (thrown instanceof CcError) return thrown;
  const exit = thrown instanceof Error ? (thrown as OclifError).oclif?.exit : undefined;
  if (thrown instanceof Error && (typeof exit === "number" || thrown.message.startsWith("Parsing --"))) return fromOclif(thrown);
  return asCcError(thrown);
}

/** The one line on stderr. Lines of a longer text are joined, so that it is one. */
export function failureLine(error: CcError): string {
  return `Error [${error.code}]: ${plainText(
    error.message
      .trim()
      .split(/\s*\n\s*/)
      .join("; "),
  )}`;
}

/** `container` is for run and exec, whose 0 to 124 are the container's own. */
export function exitCodeOf(error: CcError, kind: "plain" | "container"): number {
  if (error instanceof UsageError) return ExitCode.usage;
  if (kind === "plain") return ExitCode.failed;
  if (error.code === "COMMAND_NOT_FOUND") return ExitCode.notFound;
  if (error.code === "COMMAND_NOT_EXECUTABLE") return ExitCode.notInvokable;
  return ExitCode.cloudFailed;
}
