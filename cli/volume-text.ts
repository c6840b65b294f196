import type { VolumeState } from "../src/api/client-messages.ts";

/** Its users by name, each once; what has ended and could be started again is marked. */
export function volumeUsers({ users }: VolumeState): string[] {
  return [...new Set(users.map(({ name, container, phase }) => `${name || container}${phase === "ended" || phase === "failed" ? " (ended)" : ""}`))];
}
