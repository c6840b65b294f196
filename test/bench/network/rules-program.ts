/**
 * Puts rulesets of several sizes into the kernel by the real driver, in network namespaces of its own: `rules-program FOLDER TURNS SIZE...`.
 * The entries are published ports, each an element of two maps. One line of JSON tells all times.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createNftProgram } from "../../../src/firewall/drivers/nft/program.ts";
import { createNftFirewall } from "../../../src/firewall/drivers/nft.ts";
import type { FirewallDriver, FirewallState } from "../../../src/firewall/index.ts";
import { createLogger, createShellHelper } from "../../../src/host/index.ts";
import { largeState } from "../../unit/firewall/states.ts";

/** Milliseconds. `full`: by a peer that has just begun, `increment`: one entry more, `check`: whether somebody changed anything. */
export type RulesReport = readonly { readonly entries: number; readonly full: number[]; readonly increment: number[]; readonly check: number[] }[];

const [folder = "", turnsText = "", ...sizes] = process.argv.slice(2);
const shell = createShellHelper();
const program = createNftProgram();
const vpc = join(folder, "vpc");
const containers = join(folder, "container");
for (const path of [vpc, containers]) {
  writeFileSync(path, "");
  const { exitCode, stdout } = await shell.run(`unshare --net=${path} ip link set lo up`);
  if (exitCode !== 0) throw new Error(stdout);
}

/** Of TCP only: what is led elsewhere by UDP is also forgotten by conntrack, a program for each port. */
function stateOf(entries: number): FirewallState {
  const state = largeState({ ports: 1, published: entries, rules: 0 });
  return { ...state, published: state.published.map((port) => ({ ...port, protocol: "tcp" })) };
}

async function timed(into: number[], driver: FirewallDriver, state: FirewallState): Promise<void> {
  const fromMs = performance.now();
  const failed = await driver.apply(state);
  into.push(performance.now() - fromMs);
  if (failed.length > 0) throw new Error(failed.map(({ message }) => message).join("; "));
}

const report = sizes.map((size) => ({ entries: Number(size), full: [] as number[], increment: [] as number[], check: [] as number[] }));
for (let turn = 0; turn < Number(turnsText); turn += 1) {
  for (const { entries, full, increment, check } of report) {
    const driver = createNftFirewall(
      { logger: createLogger({ level: "warn" }), shell, program },
      { host: undefined, vpc: () => vpc, container: () => containers },
    );
    await timed(full, driver, stateOf(entries));
    await timed(increment, driver, stateOf(entries + 1));
    const fromMs = performance.now();
    const changed = await driver.check();
    check.push(performance.now() - fromMs);
    if (changed.length > 0) throw new Error("what nobody changed is said to be changed");
  }
}
console.log(JSON.stringify(report satisfies RulesReport));
await Promise.all([shell.close(), program.close()]);
