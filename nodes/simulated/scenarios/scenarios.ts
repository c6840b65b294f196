import { Watch } from "../invariants/watch.ts";
import { type Violation, World } from "../world.ts";
import { ABSENCE_SCENARIOS } from "./absence.ts";
import { AUTHORITY_SCENARIOS } from "./authority.ts";
import { LIE_SCENARIOS } from "./lies.ts";
import { PLACEMENT_SCENARIOS } from "./placement.ts";
import { type Scenario, Stage } from "./scenario.ts";
import { STATE_SCENARIOS } from "./state.ts";
import { VOLUME_SCENARIOS } from "./volumes.ts";
import { VPC_ADDRESS_SCENARIOS } from "./vpc-addresses.ts";
import { VPC_SCENARIOS } from "./vpcs.ts";

export const SCENARIOS: readonly Scenario[] = [
  ...STATE_SCENARIOS,
  ...ABSENCE_SCENARIOS,
  ...PLACEMENT_SCENARIOS,
  ...LIE_SCENARIOS,
  ...AUTHORITY_SCENARIOS,
  ...VOLUME_SCENARIOS,
  ...VPC_SCENARIOS,
  ...VPC_ADDRESS_SCENARIOS,
];

export const nameOf = (scenario: Scenario): string => `${scenario.hazard}: ${scenario.what}`;

/** Tells one scenario with one seed. */
async function playScenario(scenario: Scenario, seed: number, print?: (line: string) => void): Promise<World> {
  const world = new World({ seed, zones: scenario.zones ?? ["a", "a", "a"], ...(print === undefined ? {} : { print }) });
  await world.tell(async () => {
    const watch = new Watch(world);
    await world.build();
    const user = await world.newUser("eve", "operator");
    await world.sleep(2_500);
    await scenario.story(new Stage(world, watch, user));
  });
  return world;
}

export type Played = { readonly seed: number; readonly violation: Violation | undefined; readonly tail: readonly string[] };

/** All of its seeds, up to the first violation. */
export async function playAll(scenario: Scenario, tail = 40): Promise<Played> {
  const seeds = scenario.seeds ?? 1;
  for (let seed = 1; seed <= seeds; seed += 1) {
    const world = await playScenario(scenario, seed);
    const [violation] = world.violations;
    if (violation !== undefined) return { seed, violation, tail: world.history.tail(tail) };
  }
  return { seed: seeds, violation: undefined, tail: [] };
}
