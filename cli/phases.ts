import type { ContainerState } from "../src/api/client-messages.ts";

/** `running`, `ended (3)`; `running?` where its host cannot be reached. */
export function phaseText(state: ContainerState): string {
  const exit = (state.phase === "ended" || state.phase === "backoff") && state.exitCode !== undefined ? ` (${state.exitCode})` : "";
  const doubt = state.hostReachable || state.host === "" ? "" : "?";
  return `${state.phase}${exit}${doubt}`;
}
