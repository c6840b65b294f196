import { rename, rm, writeFile } from "node:fs/promises";
import { CcError, shellQuote, sleep } from "../../../base/index.ts";
import { sparseFile } from "../../../host/index.ts";
import { formatScript, networkScript } from "./scripts.ts";
import type { CrunConmonDeps, Paths } from "./settings.ts";

/** After a start: a user who starts several in a row is not to wait for what is made for the one after. */
const REFILL_AFTER_MS = 300;
const SCRIPT_MS_MAX = 30_000;

/**
 * One network namespace and one formatted disk that wait for the next start: a sixth of its time. Made anew
 * after each start, once nothing has started for a moment; whoever finds none makes its own.
 */
export class Spares {
  readonly #deps: CrunConmonDeps;
  readonly #paths: Paths;
  readonly #closing = new AbortController();
  #network = false;
  #diskBytes: number | undefined;
  #wanted: { readonly diskBytes: number; readonly dueMs: number } | undefined;
  #refilling: Promise<void> | undefined;

  constructor(deps: CrunConmonDeps, paths: Paths) {
    this.#deps = deps;
    this.#paths = paths;
  }

  /** Pins the spare namespace at `target`, an empty file. False: there is none. */
  async takeNetwork(target: string): Promise<boolean> {
    if (!this.#network) return false;
    this.#network = false;
    // Its own pin goes with the next refill: two names for one namespace harm nobody, and the start does not wait.
    const outcome = await this.#deps.network.run(`mount --bind ${shellQuote(this.#paths.spareNetwork)} ${shellQuote(target)}`, { timeoutMs: SCRIPT_MS_MAX });
    return outcome.exitCode === 0;
  }

  /** Puts the spare disk, formatted, at `target`. False: there is none of this size. */
  async takeDisk(target: string, sizeBytes: number): Promise<boolean> {
    if (this.#diskBytes !== sizeBytes) return false;
    this.#diskBytes = undefined;
    await rename(this.#paths.spareDisk, target);
    return true;
  }

  /** Something starts: the next one, perhaps of the same size, is to find spares once it is quiet. */
  refillLater(diskBytes: number): void {
    if (this.#closing.signal.aborted) return;
    this.#wanted = { diskBytes, dueMs: this.#deps.clock.monotonicMs() + REFILL_AFTER_MS };
    this.#refilling ??= this.#refillLoop()
      .catch((error: unknown) => this.#deps.logger.warn({ error }, "no spare could be made for the next start; it takes a little longer"))
      .finally(() => {
        this.#refilling = undefined;
      });
  }

  /** Leaves no spare behind. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return this.#refilling;
    this.#closing.abort(new CcError("CANCELLED", "the runtime is closed"));
    await this.#refilling;
    this.#network = false;
    this.#diskBytes = undefined;
    await this.clear();
  }

  /** Takes away what this or an earlier, killed peer left: nobody knows whether a container has the namespace. */
  async clear(): Promise<void> {
    await this.#unpin();
    for (const path of [this.#paths.spareDisk, this.#paths.freshSpareDisk]) await rm(path, { force: true });
  }

  async #refillLoop(): Promise<void> {
    const { clock } = this.#deps;
    for (let wanted = this.#wanted; wanted !== undefined; wanted = this.#wanted) {
      const waitMs = wanted.dueMs - clock.monotonicMs();
      if (this.#closing.signal.aborted) return;
      if (waitMs > 0) {
        await sleep(clock, waitMs, this.#closing.signal).catch(() => undefined); // Closed: the loop looks and ends.
        continue;
      }
      this.#wanted = undefined;
      if (!this.#network) await this.#makeNetwork();
      if (this.#diskBytes !== wanted.diskBytes) await this.#makeDisk(wanted.diskBytes);
    }
  }

  async #makeNetwork(): Promise<void> {
    const { spareNetwork } = this.#paths;
    await this.#unpin();
    await writeFile(spareNetwork, "");
    const outcome = await this.#deps.network.run(networkScript(this.#deps.userNamespace.path, spareNetwork), { timeoutMs: SCRIPT_MS_MAX });
    if (outcome.exitCode !== 0) throw new CcError("CONTAINER_FAILED", `the network namespace cannot be made: ${outcome.stdout.trim()}`);
    this.#network = true;
  }

  async #makeDisk(sizeBytes: number): Promise<void> {
    const { spareDisk, freshSpareDisk, diskTemplate } = this.#paths;
    this.#diskBytes = undefined;
    await rm(spareDisk, { force: true });
    await sparseFile(freshSpareDisk, sizeBytes);
    const outcome = await this.#deps.disk.run(formatScript(freshSpareDisk, diskTemplate), { timeoutMs: SCRIPT_MS_MAX });
    if (outcome.exitCode !== 0) throw new CcError("CONTAINER_FAILED", `the disk cannot be formatted: ${outcome.stdout.trim()}`);
    await rename(freshSpareDisk, spareDisk);
    this.#diskBytes = sizeBytes;
  }

  async #unpin(): Promise<void> {
    const pin = shellQuote(this.#paths.spareNetwork);
    // Without the file, a script of a peer that was killed a moment ago cannot pin it once more.
    await this.#deps.network.run(`until rm -f ${pin} 2>/dev/null; do umount ${pin} || exit 1; done`, { timeoutMs: SCRIPT_MS_MAX });
  }
}
