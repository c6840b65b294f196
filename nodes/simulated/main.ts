import { parseArgs } from "node:util";
import { runCutVpcs } from "./cut-vpcs.ts";
import { runSeeded } from "./seeded.ts";

const USAGE = `usage: npm run simulate -- [--hosts N] [--seed N] [--minutes N]     one world, its history printed
       npm run simulate -- --seeds N [--from N]... [--hosts N]            many worlds (so many from each), failures printed
       npm run simulate -- --cut-vpcs ...                                 the same, where users give a VPC's addresses out on both sides of a cut`;
const TAIL = 60;
/** Each has a stream of random numbers of its own, and there are 48 for hosts. */
const HOSTS_MAX = 40;

const OPTIONS = {
  hosts: { type: "string" },
  seed: { type: "string" },
  minutes: { type: "string" },
  seeds: { type: "string" },
  from: { type: "string", multiple: true },
  "cut-vpcs": { type: "boolean" },
  help: { type: "boolean" },
} as const;

function refuse(why: string): never {
  console.error(`${why}\n${USAGE}`);
  process.exit(2);
}

function words(): ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"] {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const values = words();
if (values.help === true) {
  console.log(USAGE);
  process.exit(0);
}

function amount(name: "hosts" | "seed" | "minutes" | "seeds"): number | undefined {
  const text = values[name];
  return text === undefined ? undefined : numberIn(name, text);
}

function numberIn(name: string, text: string): number {
  const isWhole = /^[1-9]\d{0,8}$/.test(text);
  if (!isWhole && !(name === "minutes" && /^\d{1,4}\.\d{1,4}$/.test(text) && Number(text) > 0))
    refuse(`--${name} ${text}: ${name === "minutes" ? "minutes above 0 are" : "a whole number from 1 on is"} needed`);
  return Number(text);
}

const hosts = amount("hosts");
if (hosts !== undefined && hosts > HOSTS_MAX) refuse(`--hosts ${hosts}: at most ${HOSTS_MAX}`);
const minutes = amount("minutes");
const common = { ...(hosts === undefined ? {} : { hosts }), ...(minutes === undefined ? {} : { troubleMs: minutes * 60_000 }) };
const [run, again] = values["cut-vpcs"] === true ? [runCutVpcs, `--cut-vpcs ${hosts === undefined ? "" : `--hosts ${hosts} `}`] : [runSeeded, ""];
const current = { seed: 0 };
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.once(signal, () => {
    console.error(`stopped in seed ${current.seed}`);
    process.exit(code);
  });
process.on("unhandledRejection", (reason) => {
  console.log(`seed ${current.seed}: unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`);
  process.exitCode = 1;
});

async function main(): Promise<void> {
  const seeds = amount("seeds");
  if (seeds === undefined) {
    current.seed = amount("seed") ?? 1;
    const world = await run({ ...common, seed: current.seed, print: (line) => console.log(line) });
    console.log(`history ${world.history.digest}`);
    if (world.violations.length > 0) process.exitCode = 1;
    return;
  }
  const chosen = (values.from ?? ["1"]).flatMap((text) => Array.from({ length: seeds }, (_, at) => numberIn("from", text) + at));
  // Refusals are errors too, thousands of them: whoever wants to see where one came from looks at its seed alone.
  Error.stackTraceLimit = 2;
  let failed = 0;
  for (const seed of chosen) {
    current.seed = seed;
    const world = await run({ ...common, seed });
    const [first] = world.violations;
    if (first === undefined) continue;
    failed += 1;
    process.exitCode = 1;
    console.log(`seed ${seed}: ${first.invariant}: ${first.text}\n  npm run simulate -- ${again}--seed ${seed}`);
    if (failed <= 1) for (const line of world.history.tail(TAIL)) console.log(`    ${line}`);
  }
  console.log(`${chosen.length - failed} seeds passed, ${failed} failed`);
}

await main();
