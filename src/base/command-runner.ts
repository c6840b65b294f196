/** What a finished command gave. `stdout` and `stderr` are cut at `outputBytesMax`. */
export type CommandOutcome = { readonly exitCode: number; readonly stdout: string; readonly stderr: string };

export type CommandOptions = {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Killed (SIGKILL, with its children) when this long has passed. Default 30,000. */
  readonly timeoutMs?: number;
  readonly outputBytesMax?: number;
  readonly signal?: AbortSignal;
};

/** The one way to run a program, so that tests compare commands as text. */
export interface CommandRunner {
  /** Runs `argv` (no shell) to its end; an exit code that is not 0 is an outcome, not an error. */
  run(argv: readonly string[], options?: CommandOptions): Promise<CommandOutcome>;
}

/**
 * A long-lived shell that is fed scripts: 1 ms a script at any size of the peer, where `spawn` costs up to 38
 * (it copies the page tables). Scripts run one after another.
 */
export interface ShellHelper {
  /** Runs a POSIX shell script; stdout and stderr come together in `stdout`. */
  run(script: string, options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<CommandOutcome>;
  close(): Promise<void>;
}

/** A long-lived program of ours, in Perl, that answers one request after another: starting one for each costs more than what it does. */
export interface PerlHelper {
  ask(request: string, options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal }): Promise<CommandOutcome>;
  close(): Promise<void>;
}

/** Quotes a word for a POSIX shell. */
export function shellQuote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
