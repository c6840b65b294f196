import { CcError, type PerlHelper, type ShellHelper } from "../../../src/base/index.ts";

const dead = (): CcError => new CcError("CANCELLED", "the peer was killed");

/**
 * A shell whose peer is killed, with all that it began, at a line: of the lines that change the kernel so many are done, and nothing after that.
 * `lines` counts what was done.
 */
export class CutShell implements ShellHelper {
  readonly #shell: ShellHelper;
  /** Cut off together with the shell. */
  readonly program: PerlHelper;
  readonly #after: number;
  lines = 0;
  isCut = false;

  constructor({ shell, program }: { readonly shell: ShellHelper; readonly program: PerlHelper }, after: number) {
    this.#shell = shell;
    this.program = { ask: (request, options) => this.#ask(program, request, options), close: () => program.close() };
    this.#after = after;
  }

  async run(script: string, options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }) {
    if (this.isCut) throw dead();
    // What only looks is let through: being killed there changes nothing.
    const outcome = await this.#shell.run(script.includes(".seen") ? script : this.#cut(script), options);
    if (this.isCut) throw dead();
    return outcome;
  }

  /** Each line of a request but for where it works changes something. */
  async #ask(program: PerlHelper, request: string, options?: { readonly timeoutMs?: number }) {
    if (this.isCut) throw dead();
    const kept = request.split("\n");
    const changes = kept.slice(2).length;
    const done = Math.min(changes, this.#after - this.lines);
    this.lines += done;
    this.isCut = done < changes;
    const outcome = await program.ask(kept.slice(0, 2 + done).join("\n"), options);
    if (this.isCut) throw dead();
    return outcome;
  }

  close(): Promise<void> {
    return this.#shell.close();
  }

  #cut(script: string): string {
    const kept: string[] = [];
    let isInside = false;
    let isQuoted = false;
    for (const line of script.split("\n")) {
      const isChange = isInside ? line !== "." : !isQuoted && /^(unshare|umount|\[ ! -e)/.test(line);
      if (isChange && this.lines === this.#after) {
        this.isCut = true;
        return [...kept, ...(isInside ? ["."] : []), "exit 99"].join("\n");
      }
      if (isChange) this.lines += 1;
      kept.push(line);
      if (isInside) isInside = line !== ".";
      else {
        isInside = line.includes("<<'.'");
        if (!isInside && (line.split("'").length - 1) % 2 === 1) isQuoted = !isQuoted;
      }
    }
    return script;
  }
}
