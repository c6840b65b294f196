import { hash } from "node:crypto";
import type { Logger } from "../../src/base/index.ts";

/** Errors that a peer has to say: a disk was lost or damaged. */
const EXPECTED = /^the store (that this host used is not there|is damaged)/;

/** What happened, line by line, in virtual time. The same seed gives the same bytes. */
export class History {
  readonly #now: () => number;
  readonly #keep: number;
  readonly #print: ((line: string) => void) | undefined;
  readonly #names = new Map<string, string>();
  #lines: string[] = [];
  #digest = "";
  #pending: string[] = [];

  /** `keep`: so many last lines are kept. `print`: gets each line as it comes. */
  constructor(now: () => number, keep: number, print?: (line: string) => void) {
    this.#now = now;
    this.#keep = keep;
    this.#print = print;
  }

  /** Long ids become names that people can tell apart. */
  name(id: string, name: string): void {
    this.#names.set(id, name);
  }

  nameOf(id: string): string {
    return this.#names.get(id) ?? id;
  }

  add(who: string, text: string): void {
    const line = `${(this.#now() / 1_000).toFixed(3).padStart(9)} ${who.padEnd(6)} ${text}`;
    this.#lines.push(line);
    if (this.#lines.length > 2 * this.#keep) this.#lines = this.#lines.slice(-this.#keep);
    this.#pending.push(line);
    if (this.#pending.length >= 256) this.#fold();
    this.#print?.(line);
  }

  /** The last lines, oldest first. */
  tail(count: number): readonly string[] {
    return this.#lines.slice(-count);
  }

  /** Of all lines so far. */
  get digest(): string {
    this.#fold();
    return this.#digest;
  }

  /** A peer's log as part of the history. `onError` hears of what no peer should ever have to say. */
  logger(who: string, onError: (text: string) => void, bound: Readonly<Record<string, unknown>> = {}): Logger {
    const say = (mark: string) => (fields: object, message: string) => {
      const text = `${mark}${message}${this.#fields({ ...bound, ...fields })}`;
      this.add(who, text);
      if (mark === "! " && !EXPECTED.test(message)) onError(text);
    };
    return {
      debug: () => undefined,
      info: say("  "),
      warn: say("~ "),
      error: say("! "),
      child: (fields) => this.logger(who, onError, { ...bound, ...fields }),
    };
  }

  #fields(fields: Readonly<Record<string, unknown>>): string {
    return Object.entries(fields)
      .filter(([name]) => name !== "part" && name !== "timings")
      .map(([name, value]) => ` ${name}=${this.#shown(value)}`)
      .join("");
  }

  #shown(value: unknown): string {
    if (value instanceof Error) return `${"code" in value ? String(value.code) : value.name}(${value.message})`;
    if (typeof value === "string") return this.nameOf(value);
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  #fold(): void {
    if (this.#pending.length === 0) return;
    this.#digest = hash("sha256", `${this.#digest}\n${this.#pending.join("\n")}`, "hex");
    this.#pending = [];
  }
}
