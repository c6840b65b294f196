import type { ErrorCode } from "../base/index.ts";

/** Whether connections are served just now, seen from the user's machine. */
export type LocalStanding =
  | { readonly kind: "serving" }
  /** The container runs, but nothing listens on its port. */
  | { readonly kind: "port-closed" }
  /** No process of the container runs. */
  | { readonly kind: "stopped"; readonly text: string }
  /** Its host, or every peer, is out of reach. */
  | { readonly kind: "unreachable"; readonly text: string };

/** The one line for people when what is served changes; undefined when there is nothing new to say. */
export function standingLine(
  before: LocalStanding | undefined,
  now: LocalStanding,
  target: { readonly name: string; readonly port: number },
): string | undefined {
  if (before?.kind === now.kind && now.kind !== "stopped") return undefined;
  switch (now.kind) {
    case "serving":
      return before === undefined ? undefined : `${target.name} is reached: connections are served`;
    case "port-closed":
      return `nothing listens on port ${target.port} in ${target.name}: connections are refused until something does`;
    case "stopped":
      return before?.kind === "stopped" && before.text === now.text
        ? undefined
        : `${target.name} does not run (${now.text}): connections are refused until it does`;
    case "unreachable":
      return `${target.name} cannot be reached (${now.text}): connections are refused, and it is tried again`;
    default:
      return now satisfies never;
  }
}

/** What passes by itself, or may: everything else ends the command. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  "PEER_UNREACHABLE",
  "HOST_UNREACHABLE",
  "TIMEOUT",
  "CANCELLED",
  "STARTING",
  "STORE_LOST",
  "RATE_LIMITED",
  "OUTCOME_UNKNOWN",
  "REPLAYED",
  "CLOCK_SKEW",
  "INTERNAL",
]);

export const mayPass = (code: ErrorCode): boolean => PASSING.has(code);
