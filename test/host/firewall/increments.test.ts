import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import t from "tap";
import type { FirewallRuleId } from "../../../src/base/index.ts";
import { contentText } from "../../../src/firewall/drivers/nft/listing.ts";
import { type FirewallState, type Place, placeName, rulesetsOf } from "../../../src/firewall/index.ts";
import { changeText, type TablePlan, tableText } from "../../../src/firewall/table.ts";
import { anyState, idOf, largeState } from "../../unit/firewall/states.ts";

const run = promisify(execFile);
let folder: string;
t.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "cc-firewall-"));
});
t.teardown(() => rm(folder, { recursive: true, force: true }));

/** What the kernel holds after each of the lists of transactions, each in a network namespace of its own that goes with the script. */
async function held(...lists: readonly (readonly string[])[]): Promise<readonly string[]> {
  const lines: string[] = ["set -e"];
  for (const [at, texts] of lists.entries()) {
    const steps: string[] = [];
    for (const [step, text] of texts.entries()) {
      if (text === "") continue;
      const file = join(folder, `${at}-${step}.nft`);
      await writeFile(file, text);
      steps.push(`nft -f ${file}`);
    }
    lines.push(`unshare -n sh -ec '${[...steps, "nft -j list ruleset"].join("; ")}'`, "echo");
  }
  const { stdout } = await run("sh", ["-c", lines.join("\n")], { timeout: 120_000, maxBuffer: 64 * 1024 ** 2 });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map(contentText);
}

const whole = (tables: readonly TablePlan[]): string => tables.map(tableText).join("");
/** The host, and of the rest what two states have in common, where a change is one. */
function places(before: FirewallState, after: FirewallState): readonly (readonly [Place, readonly TablePlan[], readonly TablePlan[]])[] {
  const old = new Map(rulesetsOf(before).map(({ place, tables }) => [placeName(place), tables]));
  return rulesetsOf(after)
    .flatMap(({ place, tables }) => {
      const had = old.get(placeName(place));
      return had === undefined ? [] : [[place, had, tables] as const];
    })
    .slice(-5);
}

t.test("by changes or as a whole: the kernel holds the same", async (t) => {
  let changes = 0;
  await fc.assert(
    fc.asyncProperty(anyState, anyState, async (before, after) => {
      const pairs = places(before, after);
      const results = await held(...pairs.flatMap(([, had, tables]) => [[whole(had), changeText(had, tables)], [whole(tables)]]));
      for (const [at, [place, had, tables]] of pairs.entries()) {
        const [changed, fresh] = [results[2 * at], results[2 * at + 1]];
        if (changed !== fresh) throw new Error(`${placeName(place)}:\n${changeText(had, tables)}\n${changed}\nis not\n${fresh}`);
        if (changeText(had, tables) !== "" && had.length > 0 && tables.length > 0) changes += 1;
      }
    }),
    { numRuns: 10 },
  );
  t.ok(changes > 0, `${changes} changes of tables that stayed`);
});

t.test("1,000 published ports and 1,000 rules, and one more of each by a change", async (t) => {
  const before = largeState({ ports: 2, published: 1_000, rules: 1_000 });
  const [vpc] = before.vpcs;
  const [published, rule] = [before.published[0], vpc?.rules[0]];
  if (vpc === undefined || published === undefined || rule === undefined) throw new TypeError();
  const after: FirewallState = {
    ...before,
    vpcs: [{ ...vpc, rules: [...vpc.rules, { ...rule, id: idOf<FirewallRuleId>("f", 5_000), action: "allow" }] }],
    published: [...before.published, { ...published, hostPort: 40_000 }],
  };
  const pairs = places(before, after);
  t.equal(pairs.length, 4, "two containers, their VPC, the host");
  const results = await held(...pairs.flatMap(([, had, tables]) => [[whole(had), changeText(had, tables)], [whole(tables)]]));
  for (const [at, [place, had, tables]] of pairs.entries()) {
    t.equal(results[2 * at], results[2 * at + 1], placeName(place));
    const [small, large] = [changeText(had, tables).length, whole(tables).length];
    t.ok(small > 0 && small * 20 < large, `${placeName(place)}: a change of ${small} bytes, ${large} as a whole`);
  }
});
