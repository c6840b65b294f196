import { type Clock, formatIp, type Ip, type Logger, type Random, type VpcId } from "../../base/index.ts";
import { type NameServer, restartDelayMs } from "../name-server.ts";
import type { NameTable } from "../names.ts";
import { TABLE_BYTES_MAX, TABLES_BYTES_MAX, type TablePart, tableParts } from "../names-fit.ts";
import { NameServerChild } from "./name-server/child.ts";
import type { NameServerNotice } from "./name-server/messages.ts";

export type NameServerParts = {
  /** Where it listens, in the network namespace that this process is in. */
  readonly address: Ip;
  readonly port: number;
  /** The file of name-server-program, as Node runs it. */
  readonly program: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
};

/** Until it listens; it waits 10 s for its address by itself. */
const START_MS = 30_000;
/** A large table takes it some 100 ms. */
const TAKE_MS = 10_000;
const PING_EVERY_MS = 5_000;
/** Whoever has one container after another finds the process still there. */
const LINGER_MS = 60_000;
/** It ran for so long: that it ended now has nothing to do with how it ended before. */
const STEADY_MS = 60_000;

export function createNameServer(parts: NameServerParts): NameServer {
  return new KeptNameServer(parts);
}

/** `rest`: of a table, what is still to come after what was sent. */
type Sending = { readonly number: number; readonly what: VpcId | "nameservers" | "ping"; readonly rest?: Iterator<TablePart, void> };
type Waiter = { readonly vpc: VpcId; readonly resolve: () => void };

/** Keeps the process running and its tables those that were set: one message at a time, so of many changes of a table only the last is sent. */
class KeptNameServer implements NameServer {
  readonly #parts: NameServerParts;
  readonly #tables = new Map<VpcId, NameTable>();
  #servers: readonly string[] = [];
  /** What the process does not know yet. */
  readonly #unsent = new Set<VpcId | "nameservers">();
  readonly #sentBytes = new Map<VpcId, number>();
  readonly #waiters = new Set<Waiter>();
  #child: NameServerChild | undefined;
  #readyAtMs: number | undefined;
  #sending: Sending | undefined;
  #lastNumber = 0;
  #failures = 0;
  #isWarm = false;
  #isClosing = false;
  #isStopped = false;
  #onStopped: (() => void) | undefined;
  // One timer of each kind.
  #cancelLimit: (() => void) | undefined;
  #cancelPing: (() => void) | undefined;
  #cancelLinger: (() => void) | undefined;
  #cancelRestart: (() => void) | undefined;

  constructor(parts: NameServerParts) {
    this.#parts = parts;
  }

  start(): void {
    if (this.#isStopped) return;
    this.#isWarm = true;
    this.#linger();
    this.#ensure();
  }

  set(table: NameTable): void {
    if (this.#isStopped) return;
    this.#tables.set(table.vpc, table);
    this.#unsent.add(table.vpc);
    this.#linger();
    this.#ensure();
    this.#pump();
  }

  remove(vpc: VpcId): void {
    if (!this.#tables.delete(vpc)) return;
    this.#unsent.add(vpc);
    this.#linger();
    this.#settleWaiters();
    this.#pump();
  }

  nameservers(addresses: readonly string[]): void {
    this.#servers = [...addresses];
    this.#unsent.add("nameservers");
    this.#pump();
  }

  answering(vpc: VpcId, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        vpc,
        resolve: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
      this.#settleWaiters();
    });
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    this.#tables.clear();
    this.#cancelLinger?.();
    this.#cancelRestart?.();
    this.#settleWaiters();
    if (this.#child === undefined) return Promise.resolve();
    this.#close();
    return new Promise((resolve) => {
      const before = this.#onStopped;
      this.#onStopped = () => {
        before?.();
        resolve();
      };
    });
  }

  #isNeeded(): boolean {
    return !this.#isStopped && (this.#isWarm || this.#tables.size > 0);
  }

  /** Without tables the process is kept for a while. */
  #linger(): void {
    this.#cancelLinger?.();
    if (this.#tables.size > 0) return;
    this.#cancelLinger = this.#parts.clock.after(LINGER_MS, () => {
      this.#isWarm = false;
      this.#cancelRestart?.();
      this.#cancelRestart = undefined;
      this.#close();
    });
  }

  #close(): void {
    if (this.#child === undefined) return;
    this.#isClosing = true;
    this.#child.kill();
  }

  #ensure(): void {
    if (this.#child !== undefined || this.#cancelRestart !== undefined || !this.#isNeeded()) return;
    const { program, address, port, clock } = this.#parts;
    this.#isClosing = false;
    // A process that has just begun knows nothing.
    this.#sentBytes.clear();
    this.#unsent.clear();
    for (const vpc of this.#tables.keys()) this.#unsent.add(vpc);
    this.#unsent.add("nameservers");
    const child = new NameServerChild(
      { program, address: formatIp(address), port },
      {
        onReady: () => this.#onReady(),
        onTaken: (number) => this.#onTaken(child, number),
        onNotice: (notice) => this.#onNotice(notice),
        onEnd: (why) => this.#onEnd(why),
      },
    );
    this.#child = child;
    this.#cancelLimit = clock.after(START_MS, () => child.kill());
  }

  #onReady(): void {
    this.#cancelLimit?.();
    this.#readyAtMs = this.#parts.clock.monotonicMs();
    this.#parts.log.info({ address: formatIp(this.#parts.address), vpcs: this.#tables.size }, "the name server of this host's VPCs listens");
    this.#pump();
  }

  #pump(): void {
    const { clock } = this.#parts;
    const child = this.#child;
    if (child === undefined || this.#readyAtMs === undefined || this.#sending !== undefined) return;
    const [what] = this.#unsent;
    this.#cancelPing?.();
    if (what === undefined) {
      this.#cancelPing = clock.after(PING_EVERY_MS, () => this.#send(child, "ping"));
      return;
    }
    this.#unsent.delete(what);
    this.#send(child, what);
  }

  #send(child: NameServerChild, what: Sending["what"]): void {
    const table = what === "nameservers" || what === "ping" ? undefined : this.#tables.get(what);
    if (table !== undefined) {
      this.#sentBytes.delete(table.vpc);
      const others = [...this.#sentBytes.values()].reduce((sum, bytes) => sum + bytes, 0);
      this.#sendPart(child, table.vpc, tableParts(table, Math.min(TABLE_BYTES_MAX, TABLES_BYTES_MAX - others)));
      return;
    }
    const number = this.#begin(child, { what });
    if (what === "ping") return child.send({ number, kind: "ping" });
    if (what === "nameservers") return child.send({ number, kind: "nameservers", addresses: this.#servers });
    this.#sentBytes.delete(what);
    child.send({ number, kind: "remove", vpc: what });
  }

  /** The next piece of a table; false: there is none. */
  #sendPart(child: NameServerChild, vpc: VpcId, rest: Iterator<TablePart, void>): boolean {
    const { done, value: part } = rest.next();
    if (done === true || part === undefined) return false;
    const { table, isFirst, isLast, bytes, leftOut } = part;
    if (leftOut > 0) this.#parts.log.warn({ vpc, leftOut }, "too many names: the youngest containers of the VPC have none on this host");
    this.#sentBytes.set(vpc, bytes);
    child.send({ number: this.#begin(child, { what: vpc, rest }), kind: "table", table, isFirst, isLast });
    return true;
  }

  #begin(child: NameServerChild, sending: Omit<Sending, "number">): number {
    this.#lastNumber += 1;
    this.#sending = { number: this.#lastNumber, ...sending };
    // A process that hangs is as good as one that is gone.
    this.#cancelLimit = this.#parts.clock.after(TAKE_MS, () => child.kill());
    return this.#lastNumber;
  }

  #onTaken(child: NameServerChild, number: number): void {
    if (this.#sending?.number !== number) return;
    const { what, rest } = this.#sending;
    this.#cancelLimit?.();
    if (rest !== undefined && what !== "nameservers" && what !== "ping" && this.#sendPart(child, what, rest)) return;
    this.#sending = undefined;
    this.#settleWaiters();
    this.#pump();
  }

  #onNotice(notice: NameServerNotice): void {
    if (notice.kind === "rate") this.#parts.log.warn(notice, "a VPC asks more names than are answered; the rest gets no answer");
    else this.#parts.log.warn(notice, "a nameserver of this host asks the VPCs' name server for what it is asked by it: it is left out");
  }

  #onEnd(why: string): void {
    const { clock, random, log } = this.#parts;
    const ranMs = this.#readyAtMs === undefined ? 0 : clock.monotonicMs() - this.#readyAtMs;
    this.#child = undefined;
    this.#readyAtMs = undefined;
    this.#sending = undefined;
    this.#cancelLimit?.();
    this.#cancelPing?.();
    this.#onStopped?.();
    // Closed for want of tables, and one came while it ended.
    if (this.#isClosing || !this.#isNeeded()) return this.#ensure();
    this.#failures = ranMs >= STEADY_MS ? 1 : this.#failures + 1;
    const againMs = restartDelayMs(this.#failures, random.below(1_000) / 1_000);
    log.warn(
      { why, againMs, failures: this.#failures },
      "the name server of this host's VPCs is gone and is started again; until then containers find no names",
    );
    this.#cancelRestart = clock.after(againMs, () => {
      this.#cancelRestart = undefined;
      this.#ensure();
    });
  }

  #settleWaiters(): void {
    for (const waiter of this.#waiters) {
      const isSent = this.#readyAtMs !== undefined && !this.#unsent.has(waiter.vpc) && this.#sending?.what !== waiter.vpc;
      if (this.#tables.has(waiter.vpc) && !isSent) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }
}
