import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { patched } from "../../nodes/simulated/mutations/mutation.ts";
import { MUTATIONS } from "../../nodes/simulated/mutations/mutations.ts";
import { nameOf, SCENARIOS } from "../../nodes/simulated/scenarios/scenarios.ts";
import { formatTable, inParallel, playApart, type Row, scenariosOf, tryMutation } from "../../nodes/simulated/scenarios/table.ts";

const TOP = join(import.meta.dirname, "../..");
const PROCESSES = 2;
/** Histories that share a process: it takes longer to load than most of them to be told. */
const BATCH = 5;
/** `npm run test:mutations` tries all; `npm test` the first of each hazard. */
const ALL = process.env["CC_TEST_MUTATIONS"] === "all";
const CHOSEN = MUTATIONS.flatMap((mutation, at) => {
  const isFirst = MUTATIONS.findIndex(({ hazard }) => hazard === mutation.hazard) === at;
  return ALL || isFirst ? [at] : [];
});

t.test("every history of a hazard holds with the rules as they are", async (t) => {
  const batches = Math.ceil(SCENARIOS.length / BATCH);
  const batched = await inParallel(batches, PROCESSES, (at) => playApart([...SCENARIOS.keys()].slice(at * BATCH, (at + 1) * BATCH)));
  const told = new Map(batched.flat().map((one) => [one.scenario, one]));
  for (const [at, scenario] of SCENARIOS.entries()) {
    const played = told.get(at);
    t.ok(played, nameOf(scenario));
    t.same(played?.violation, undefined, `${nameOf(scenario)} seed ${played?.seed}\n${played?.tail.join("\n")}`);
  }
});

t.test("a mutation fits the source that it patches, and has a history that is its own", (t) => {
  for (const mutation of MUTATIONS) {
    t.ok(scenariosOf(mutation).length > 0, `${mutation.hazard}: ${mutation.name}`);
    for (const file of new Set(mutation.patches.map((patch) => patch.file))) {
      const source = readFileSync(join(TOP, file), "utf8");
      t.not(patched(source, file, mutation.patches), source);
    }
  }
  t.end();
});

t.test(`${ALL ? "every rule" : "of each hazard a rule"} switched off is caught`, async (t) => {
  const rows: readonly Row[] = await inParallel(CHOSEN.length, PROCESSES, (at) => tryMutation(CHOSEN[at] ?? -1));
  process.stdout.write(
    `${formatTable(rows)
      .split("\n")
      .map((line) => `# ${line}`)
      .join("\n")}\n`,
  );
  for (const { mutation, caughtBy } of rows) t.not(caughtBy, undefined, `${mutation.hazard}: ${mutation.name}`);
});
