import { parseArgs } from "node:util";
import { runSeeded } from "./seeded.ts";

const USAGE = `usage: npm run simulate -- [--hosts N] [--seed N] [--minutes N]     one world, its history printed
       npm run simulate -- --seeds N [--from N] [--hosts N]               many worlds, failures printed`;
const TAIL = 60;

const { values } = parseArgs({
  options: {
    hosts: { type: "string" },
    seed: { type: "string" },
    minutes: { type: "string" },
    seeds: { type: "string" },
    from: { type: "string" },
    help: { type: "boolean" },
  },
});

if (values.help === true) {
  console.log(USAGE);
  process.exit(0);
}

const number = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));
const common = {
  ...(values.hosts === undefined ? {} : { hosts: Number(values.hosts) }),
  ...(values.minutes === undefined ? {} : { troubleMs: Number(values.minutes) * 60_000 }),
};
const current = { seed: 0 };
process.on("unhandledRejection", (reason) => {
  console.log(`seed ${current.seed}: unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`);
  process.exitCode = 1;
});

async function main(): Promise<void> {
  const seeds = number(values.seeds);
  if (seeds === undefined) {
    current.seed = number(values.seed) ?? 1;
    const world = await runSeeded({ ...common, seed: current.seed, print: (line) => console.log(line) });
    console.log(`history ${world.history.digest}`);
    if (world.violations.length > 0) process.exitCode = 1;
    return;
  }
  const from = number(values.from) ?? 1;
  // Refusals are errors too, thousands of them: whoever wants to see where one came from looks at its seed alone.
  Error.stackTraceLimit = 2;
  let failed = 0;
  for (let seed = from; seed < from + seeds; seed += 1) {
    current.seed = seed;
    const world = await runSeeded({ ...common, seed });
    const [first] = world.violations;
    if (first === undefined) continue;
    failed += 1;
    process.exitCode = 1;
    console.log(`seed ${seed}: ${first.invariant}: ${first.text}\n  npm run simulate -- --seed ${seed}`);
    if (failed <= 1) for (const line of world.history.tail(TAIL)) console.log(`    ${line}`);
  }
  console.log(`${seeds - failed} seeds passed, ${failed} failed`);
}

await main();
