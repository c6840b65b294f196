/**
 * cc: the command line. One file per command under commands/, each an oclif command: parse, call, print.
 *
 * How it starts: the words are matched against the table of commands, the one command's class is loaded and run with
 * oclif's parser. oclif's Config, plugins and hooks are loaded for help only: they cost more than a whole request, and
 * what they find out is known when the program is built. build.ts makes one file of it, with oclif's own requires made
 * lazy and V8's compile cache filled.
 *
 * Rejected: a helper process in the background (a process that holds the key, and goes stale), a snapshot or a single
 * executable (3 to 5 ms for 127 MB), protobuf and Connect here (16 ms to import).
 */
import manifest from "cc:manifest";
import { COMMANDS, TOPICS } from "./commands.ts";
import { asFailure, ExitCode, exitCodeOf, failureLine, UsageError } from "./failure.ts";
import { findCommand, nearest } from "./find-command.ts";
import { splitCommand } from "./split-command.ts";

const GLOBALS = {
  "cc-endpoint-url": { type: "option" },
  "cc-access-token": { type: "option" },
  "cc-secret-key": { type: "option" },
  json: { type: "boolean" },
} as const;
/** What a shell reports of a program that wrote to a pipe without a reader. */
const BROKEN_PIPE_EXIT = 141;

async function showHelp(words: readonly string[]): Promise<number> {
  const { showHelp: show } = await import("./help.ts");
  await show(manifest, words);
  return ExitCode.done;
}

/** Whether `--help` stands among the command's own options, not among those of what it runs. */
function asksForHelp(id: string, argv: readonly string[]): boolean {
  const flags = manifest.commands[id]?.flags ?? {};
  const before = id === "run" ? 0 : id === "exec" ? 1 : undefined;
  const own =
    before === undefined ? argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length) : splitCommand(argv, { ...GLOBALS, ...flags }, before).options;
  return own.includes("--help") || (own.includes("-h") && !Object.values(flags).some((flag) => flag.char === "h"));
}

async function main(words: readonly string[]): Promise<number> {
  const found = findCommand(words, COMMANDS, TOPICS, GLOBALS);
  if (found.kind === "version") {
    process.stdout.write(`container-cloud/${manifest.version} ${process.platform}-${process.arch} node-${process.version}\n`);
    return ExitCode.done;
  }
  if (found.kind === "help") return await showHelp(found.words);
  if (found.kind === "unknown") {
    const near = nearest(found.words, Object.keys(COMMANDS));
    return fail(
      new UsageError(`there is no command "${found.words}"; ${near === undefined ? "cc --help lists all" : `did you mean cc ${near}?`}`),
      "plain",
      [],
    );
  }
  const { id, argv } = found;
  const load = COMMANDS[id];
  if (load === undefined || asksForHelp(id, argv)) return await showHelp([id]);
  const { default: Command } = await load();
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // The reader has had enough (`| head`): nobody is left to tell.
    process.exit(error.code === "EPIPE" ? (Command.exits === "container" ? BROKEN_PIPE_EXIT : ExitCode.done) : ExitCode.failed);
  });
  try {
    return await new Command(argv).run();
  } catch (error) {
    return fail(error, Command.exits, argv, id);
  }
}

function fail(thrown: unknown, exits: "plain" | "container", argv: readonly string[], id?: string): number {
  const error = asFailure(thrown);
  const hint = error instanceof UsageError && id !== undefined ? ` (cc ${id.replace(":", " ")} --help)` : "";
  const end = argv.indexOf("--");
  if ((end < 0 ? argv : argv.slice(0, end)).includes("--json"))
    process.stdout.write(`${JSON.stringify({ error: { code: error.code, message: error.message, details: error.details } }, undefined, 2)}\n`);
  process.stderr.write(`${failureLine(error)}${hint}\n`);
  if (process.env["CC_DEBUG"] === "1" && thrown instanceof Error) process.stderr.write(`${thrown.stack ?? ""}\n`);
  return exitCodeOf(error, exits);
}

/** A pipe takes 64 KiB at a time: what its reader has not fetched yet would be cut off by leaving. */
async function leave(code: number): Promise<never> {
  const waiting = [process.stdout, process.stderr].filter((stream) => stream.writableLength > 0);
  await Promise.all(waiting.map((stream) => new Promise((resolve) => stream.write("", resolve))));
  process.exit(code);
}

void main(process.argv.slice(2))
  .catch((error: unknown) => fail(error, "plain", []))
  .then(leave);
