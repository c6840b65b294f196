/**
 * Plays scenarios in a process of its own and prints one line of JSON for each: `node play.ts INDEX...`, the places in the
 * list of scenarios. With `--import mutations/load.ts` a rule is switched off meanwhile.
 */
import { type Played, playAll, SCENARIOS } from "./scenarios.ts";

const TAIL = 60;
/** A mutation may make a loop that never waits: then no timer of this process fires, and its parent ends it. */
let current: number | undefined;

function tell(played: Played): void {
  process.stdout.write(`${JSON.stringify({ scenario: current, ...played })}\n`);
}

for (const event of ["unhandledRejection", "uncaughtException"] as const)
  process.on(event, (reason: unknown) => {
    const text = `${event}: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`;
    tell({ seed: 0, violation: { invariant: "no-fault", atMs: 0, text }, tail: [] });
    process.exit(0);
  });

for (const word of process.argv.slice(2)) {
  current = Number(word);
  const scenario = SCENARIOS[current];
  if (scenario !== undefined) tell(await playAll(scenario, TAIL));
}
process.exit(0);
