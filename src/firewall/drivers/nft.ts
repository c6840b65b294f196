import { statSync } from "node:fs";
import { CcError, type CommandOutcome, type ContainerId, type Logger, type PerlHelper, type ShellHelper, type VpcId } from "../../base/index.ts";
import type { DropCount, FirewallDriver, LoggedTraffic, PlaceFailure } from "../driver.ts";
import { type Place, placeName, type Ruleset, rulesetsOf } from "../rulesets.ts";
import type { FirewallState } from "../state.ts";
import { changeText, removalText, type TablePlan, tableText } from "../table.ts";
import { countersIn, frameText, holds, loggedIn } from "./nft/listing.ts";
import { readGenerations, transact } from "./nft/program.ts";
import { ABSENT, absentScript, changedUdpPorts, countersScript, describePlace, familiesIn, forgetUdpScript, frameScript, listScript } from "./nft/scripts.ts";

export type NftFirewallDeps = {
  readonly logger: Logger;
  /** A kept shell of its own. */
  readonly shell: ShellHelper;
  /** What `createNftProgram` gives. */
  readonly program: PerlHelper;
};

/** Where network namespaces are pinned, absolute. */
export type NamespacePaths = {
  /** Undefined: this process's own namespace is the host's. */
  readonly host: string | undefined;
  readonly vpc: (vpc: VpcId) => string;
  readonly container: (container: ContainerId) => string;
};

const SCRIPT_MS_MAX = 30_000;
/** The generation of a namespace in which nobody ever had a rule. */
const FIRST_GENERATION = 1;

type Known = {
  readonly place: Place;
  readonly path: string | undefined;
  /** Of the namespace, which may be another one under the same path. */
  readonly identity: string;
  /** Undefined: nobody knows what is there. */
  tables: readonly TablePlan[] | undefined;
  /** As it is if nobody else changed anything since. */
  generation: number;
  /** Nobody asked: the namespace is taken for a fresh one until the next check. */
  isAssumed: boolean;
  /** How the kernel tells the table without its elements; of the host only, where others have tables of their own. */
  frame: string | undefined;
};

/** One driver per host. It keeps in memory what it applied, and takes nothing for granted that it has not applied itself. */
export function createNftFirewall(deps: NftFirewallDeps, paths: NamespacePaths): FirewallDriver {
  return new NftFirewall(deps, paths);
}

class NftFirewall implements FirewallDriver {
  readonly #deps: NftFirewallDeps;
  readonly #paths: NamespacePaths;
  readonly #known = new Map<string, Known>();
  /** Places that are not what they were thought to be: next time they are asked. */
  readonly #doubted = new Set<string>();
  #hasMet = false;
  #rendered: { readonly state: FirewallState; readonly rulesets: readonly Ruleset[] } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: NftFirewallDeps, paths: NamespacePaths) {
    this.#deps = deps;
    this.#paths = paths;
  }

  apply(state: FirewallState): Promise<readonly PlaceFailure[]> {
    return this.#inTurn(async () => {
      const rulesets = this.#rulesetsOf(state);
      const wanted = new Set(rulesets.map(({ place }) => placeName(place)));
      for (const names of [this.#known, this.#doubted]) for (const name of names.keys()) if (!wanted.has(name)) names.delete(name);
      await this.#meet(rulesets.map(({ place }) => place));
      const failures: PlaceFailure[] = [];
      for (const ruleset of rulesets) {
        const message = await this.#applyOne(ruleset);
        if (message !== undefined) failures.push({ place: ruleset.place, message });
      }
      return failures;
    });
  }

  check(): Promise<readonly Place[]> {
    return this.#inTurn(async () => {
      const held = [...this.#known.values()].filter(({ tables, isAssumed }) => (tables ?? []).length > 0 || isAssumed);
      const generations = await readGenerations(
        this.#deps.program,
        held.map(({ path }) => path),
      );
      const changed: Place[] = [];
      for (const [at, known] of held.entries()) {
        const generation = generations[at];
        if (generation === known.generation) {
          known.isAssumed = false;
          continue;
        }
        if (generation !== undefined && (await this.#isIntact(known))) known.generation = generation;
        else {
          this.#doubt(known.place);
          // It was never known to be as it should be.
          if (!known.isAssumed) changed.push(known.place);
        }
      }
      return changed;
    });
  }

  dropped(): Promise<readonly DropCount[]> {
    return this.#inTurn(async () => {
      const counts: DropCount[] = [];
      for (const { place, path } of this.#placesWithTables()) {
        if (place.kind === "container") continue;
        const { exitCode, stdout } = await this.#run(countersScript(path));
        if (exitCode === 0) counts.push(...countersIn(stdout).map((count) => ({ place, ...count })));
      }
      return counts;
    });
  }

  logged(): Promise<readonly LoggedTraffic[]> {
    return this.#inTurn(async () => {
      const met: LoggedTraffic[] = [];
      for (const { place, path, tables } of this.#placesWithTables()) {
        if (place.kind !== "container" || !tables.some(({ sets }) => sets.some(({ name }) => name.startsWith("log_")))) continue;
        const { exitCode, stdout } = await this.#run(listScript(path));
        if (exitCode === 0) met.push(...loggedIn(stdout).map((entry) => ({ container: place.container, ...entry })));
      }
      return met;
    });
  }

  /** A caller that repeats itself every few seconds with the very same state costs nothing. */
  #rulesetsOf(state: FirewallState): readonly Ruleset[] {
    if (this.#rendered?.state !== state) this.#rendered = { state, rulesets: rulesetsOf(state) };
    return this.#rendered.rulesets;
  }

  #placesWithTables(): (Known & { readonly tables: readonly TablePlan[] })[] {
    return [...this.#known.values()].filter((known): known is Known & { readonly tables: readonly TablePlan[] } => (known.tables ?? []).length > 0);
  }

  /**
   * Takes up namespaces that are new, or new under a known path: what they hold is unknown, and their generation is asked. What comes after the
   * first look was made a moment ago, for a container that starts: it is put to use as a fresh one, and the next check sees whether it was. A program
   * of its own would be a third of what its start waits for here.
   */
  async #meet(places: readonly Place[]): Promise<void> {
    const strangers: Omit<Known, "generation" | "isAssumed">[] = [];
    for (const place of places) {
      const path = this.#pathOf(place);
      const identity = identityOf(path);
      const name = placeName(place);
      if (identity === this.#known.get(name)?.identity) continue;
      this.#known.delete(name);
      if (identity === undefined) continue;
      const stranger = { place, path, identity, tables: undefined, frame: undefined };
      const isFresh = this.#hasMet && place.kind !== "host" && !this.#doubted.delete(name);
      if (isFresh) this.#known.set(name, { ...stranger, generation: FIRST_GENERATION, isAssumed: true });
      else strangers.push(stranger);
    }
    this.#hasMet = true;
    const generations = await readGenerations(
      this.#deps.program,
      strangers.map(({ path }) => path),
    );
    for (const [at, stranger] of strangers.entries()) {
      const generation = generations[at];
      if (generation !== undefined) this.#known.set(placeName(stranger.place), { ...stranger, generation, isAssumed: false });
    }
  }

  #doubt(place: Place): void {
    this.#known.delete(placeName(place));
    this.#doubted.add(placeName(place));
  }

  /** Why it failed, else undefined. */
  async #applyOne({ place, tables }: Ruleset): Promise<string | undefined> {
    const known = this.#known.get(placeName(place));
    if (known === undefined) return tables.length === 0 ? undefined : `the network namespace of ${describePlace(place)} is not there`;
    if (known.tables === undefined) return this.#replace(known, tables);
    const text = changeText(known.tables, tables);
    if (text === "") return undefined;
    const failed = await this.#transact(known, tables, text);
    if (failed === undefined) return undefined;
    // What is there is not what was thought: put there as a whole it does not matter.
    this.#deps.logger.warn(
      { place: placeName(place), error: failed },
      "a change of firewall rules was refused by the kernel; all rules of the place are put there anew",
    );
    this.#doubt(place);
    await this.#meet([place]);
    const again = this.#known.get(placeName(place));
    return again === undefined ? failed : this.#replace(again, tables);
  }

  async #replace(known: Known, tables: readonly TablePlan[]): Promise<string | undefined> {
    if (tables.length === 0 && known.generation === FIRST_GENERATION) {
      known.tables = tables;
      return undefined;
    }
    const gone = familiesIn(known.place).filter((family) => !tables.some((table) => table.family === family));
    const text = [...gone.map((family) => removalText({ family })), ...tables.map(tableText)].join("");
    const failed = await this.#transact(known, tables, text);
    if (failed !== undefined) this.#doubt(known.place);
    return failed;
  }

  async #transact(known: Known, tables: readonly TablePlan[], text: string): Promise<string | undefined> {
    const isHost = known.place.kind === "host";
    const isUnknownHost = isHost && known.tables === undefined;
    const lists = isHost && tables.length > 0 && (known.frame === undefined || frameOf(known.tables) !== frameOf(tables));
    const wasAbsent = isUnknownHost && (await this.#run(absentScript(known.path))).stdout.startsWith(ABSENT);
    const { exitCode, stdout } = await transact(this.#deps.program, known.path, text);
    if (exitCode !== 0) return stdout.trim().slice(0, 1_000);
    if (lists) this.#learnFrame(known);
    // What an earlier process left is as it should be, more likely than not: flows go on.
    const before = known.tables ?? (wasAbsent ? [] : tables);
    known.tables = tables;
    known.generation += 1;
    await this.#forgetUdp(known.path, changedUdpPorts(before, tables));
    return undefined;
  }

  /** At once after this call, and before any other: who waits for the rules to be there does not wait for it. */
  #learnFrame(known: Known): void {
    known.frame = undefined;
    const learning = this.#inTurn(async () => {
      const { exitCode, stdout } = await this.#run(frameScript(known.path));
      if (exitCode === 0) known.frame = frameText(stdout);
    });
    // Without it the next change by somebody else has the rules put there anew.
    learning.catch((error: unknown) => this.#deps.logger.debug({ error }, "the host's rules could not be listed"));
  }

  async #forgetUdp(path: string | undefined, ports: readonly number[]): Promise<void> {
    if (ports.length === 0) return;
    const { exitCode, stdout } = await this.#run(forgetUdpScript(path, ports));
    if (exitCode !== 0)
      this.#deps.logger.warn({ ports, said: stdout }, "clients that sent UDP to a port before it was published may not reach it; is conntrack installed?");
  }

  /** In the host's namespace others have rules, and change them: only ours matter. Elsewhere only we write, and any change is a wrong one. */
  async #isIntact({ place, path, tables, frame }: Known): Promise<boolean> {
    if (place.kind !== "host" || frame === undefined) return false;
    const { exitCode, stdout } = await this.#run(listScript(path));
    if (exitCode !== 0) return false;
    try {
      return frameText(stdout) === frame && holds(stdout, tables ?? []);
    } catch (error) {
      // Too long to be listed as a whole: not known to be right, so it is put there anew.
      if (error instanceof SyntaxError) return false;
      throw error;
    }
  }

  #run(script: string): Promise<CommandOutcome> {
    return this.#deps.shell.run(script, { timeoutMs: SCRIPT_MS_MAX });
  }

  #pathOf(place: Place): string | undefined {
    if (place.kind === "host") return this.#paths.host;
    return place.kind === "vpc" ? this.#paths.vpc(place.vpc) : this.#paths.container(place.container);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => undefined); // Told to whoever asked for it.
    return turn;
  }
}

/** Names of namespaces are used again by the kernel, so also when it came about. Undefined: there is none. */
function identityOf(path: string | undefined): string | undefined {
  if (path === undefined) return "own";
  try {
    const { ino, ctimeNs } = statSync(path, { bigint: true });
    return `${ino} ${ctimeNs}`;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new CcError("INTERNAL", `${path} cannot be looked at`, { cause: error });
  }
}

/** What of a place's tables is told by a listing without elements. */
function frameOf(tables: readonly TablePlan[] | undefined): string {
  return JSON.stringify((tables ?? []).map(({ family, counters, sets, chains }) => [family, counters, sets.map(({ name, spec }) => [name, spec]), chains]));
}
