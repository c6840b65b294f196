import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import type { StreamHandle } from "../../src/api/client-stream.ts";
import { CcError } from "../../src/base/index.ts";
import { CloudCommand, many } from "../cloud-command.ts";
import { ExitCode, UsageError, usable } from "../failure.ts";
import { collectPairs, parseEnv } from "../options.ts";
import { createGatheringSink, createOutputSink } from "../output-sink.ts";
import { passInput, passingSignals, signalExit } from "../passed-signals.ts";
import { splitCommand } from "../split-command.ts";

export default class Exec extends CloudCommand {
  static override summary = "Run one more command in a running container.";
  static override description =
    `Its output comes here, stdout and stderr apart, and its exit status is this command's: 125 when the cloud failed, 126 and 127 when the command could not be invoked or was not found. It has the container's own user, environment, limits and rights. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to it. It is this command's: when this ends or loses its connection, the command in the container is ended, with HUP and then KILL; three Ctrl-C within 2 seconds do so. Options end at the command.`;
  static override usage = "exec [OPTION...] CONTAINER [--] COMMAND [ARG...]";
  static override examples = [
    "<%= config.bin %> exec web ls -l",
    "<%= config.bin %> exec --user postgres db -- psql -c 'select 1'",
    "<%= config.bin %> exec -i web sh < script",
  ];
  static override args = { container: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    interactive: Flags.boolean({ char: "i", description: "pass standard input on (default: it has none)" }),
    env: Flags.string({ ...many, char: "e", helpValue: "NAME[=VALUE]", description: "environment variable; without a value: the one here" }),
    user: Flags.string({ char: "u", helpValue: "USER[:GROUP]", description: "names or numbers (default: the container's)" }),
    dir: Flags.string({ char: "w", helpValue: "DIR", description: "working directory (default: the container's)" }),
    tty: Flags.boolean({ char: "t", helpGroup: "NOT YET", description: "a terminal of its own" }),
  };
  static override strict = false;
  static override readonly exits = "container" as const;
  static readonly wordsBeforeCommand = 1;

  override async run(): Promise<number> {
    const { options, command } = splitCommand(this.argv, { ...Exec.baseFlags, ...Exec.flags }, Exec.wordsBeforeCommand);
    const { flags, args } = await this.parse({ flags: Exec.flags, baseFlags: Exec.baseFlags, args: Exec.args }, options);
    if (flags.tty) throw new CcError("NOT_YET", "--tty is not there yet; leave it out in this version");
    if (command.length === 0) throw new UsageError("the command to run in the container is missing");
    const env = usable(collectPairs(flags.env ?? [], (pair) => parseEnv(pair, process.env)));
    const request = {
      container: args.container,
      command,
      ...(Object.keys(env).length > 0 ? { env } : {}),
      ...(flags.user === undefined ? {} : { user: flags.user }),
      ...(flags.dir === undefined ? {} : { dir: flags.dir }),
      ...(flags.interactive ? { stdin: true } : {}),
    };
    const { client } = this.connect(flags);
    let handle: StreamHandle | undefined;
    const hooks = {
      warn: (text: string) => this.warning(text),
      onCommitted: (opened: StreamHandle) => {
        handle = opened;
        if (flags.interactive) void passInput(opened);
      },
    };
    const gathering = createGatheringSink(hooks);
    try {
      const end = await passingSignals({ handle: () => handle, early: (signal) => process.exit(signalExit(signal)), nowMs: () => performance.now() }, () =>
        client.stream("Exec", request, flags.json ? gathering.sink : createOutputSink(hooks).sink),
      );
      if (end.detached === true) {
        this.note("left; the command is ended in the container");
        return signalExit("SIGINT");
      }
      if (end.reason !== undefined && end.reason !== "") this.note(`the command ended: ${end.reason}`);
      if (flags.json) {
        const [stdout, stderr] = [gathering.text("stdout"), gathering.text("stderr")];
        this.printJson({
          container: args.container,
          exitCode: end.exitCode ?? null,
          reason: end.reason ?? "",
          stdout,
          stderr,
          truncated: gathering.truncated(),
        });
      }
      return end.exitCode === undefined ? ExitCode.cloudFailed : end.exitCode & 0xff;
    } catch (error) {
      if (handle === undefined || !(error instanceof CcError) || error.code !== "PEER_UNREACHABLE") throw error;
      throw new CcError("PEER_UNREACHABLE", `the connection was lost (${error.message}); the command is ended with it, how far it came is unknown`);
    } finally {
      client.close();
    }
  }
}
