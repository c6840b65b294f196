import type { Logger } from "../../../src/base/index.ts";
import { type FirewallDriver, type LoggedTraffic, newlyLogged } from "../../../src/firewall/index.ts";

/** Lines for one look; what is above is counted only. */
const LINES_MAX = 100;

/** Writes to the peer's log what rules with `log` met since the last look: a line for each other side, protocol and port. */
export class TrafficLog {
  readonly #firewall: Pick<FirewallDriver, "logged">;
  readonly #log: Logger;
  #before: readonly LoggedTraffic[] = [];

  constructor(firewall: Pick<FirewallDriver, "logged">, log: Logger) {
    this.#firewall = firewall;
    this.#log = log;
  }

  async look(): Promise<void> {
    const now = await this.#firewall.logged();
    const met = newlyLogged(this.#before, now);
    this.#before = now;
    for (const traffic of met.slice(0, LINES_MAX)) this.#log.info(traffic, "a firewall rule met traffic");
    if (met.length > LINES_MAX) this.#log.warn({ more: met.length - LINES_MAX }, "firewall rules met more traffic than is written here");
  }
}
