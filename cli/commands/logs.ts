import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import { CloudCommand } from "../cloud-command.ts";
import { ExitCode, UsageError, usable } from "../failure.ts";
import { notFound, resolveNames } from "../names.ts";
import { parseSince, parseTail } from "../options.ts";
import { createGatheringSink, createOutputSink } from "../output-sink.ts";

export default class Logs extends CloudCommand {
  static override summary = "Print what a container has written, stdout to stdout and stderr to stderr.";
  static override examples = ["<%= config.bin %> logs web", "<%= config.bin %> logs -f --since 10m --timestamps web"];
  static override args = { container: Args.string({ required: true, ignoreStdin: true, description: "id or name" }) };
  static override flags = {
    follow: Flags.boolean({ char: "f", description: "go on until the container ends or you interrupt" }),
    since: Flags.string({ helpValue: "TIME", description: "only what is newer: 2026-01-31T12:00:00Z, or how long ago (10m)" }),
    tail: Flags.string({ char: "n", helpValue: "LINES", default: "all", description: "only the last lines" }),
    timestamps: Flags.boolean({ char: "t", description: "begin each line with its time" }),
  };

  override async run(): Promise<number> {
    const { flags, args } = await this.parse(Logs);
    if (flags.json && flags.follow) throw new UsageError("--json prints one document and --follow has no end; leave one out");
    const tail = usable(parseTail(flags.tail ?? "all"));
    const { client } = this.connect(flags);
    try {
      const sinceMs = flags.since === undefined ? 0 : usable(parseSince(flags.since, client.nowMs()));
      const names = await resolveNames(client, "container", [args.container]);
      const found = names.found[0];
      if (found === undefined) return this.reportErrors(names.errors.length > 0 ? names.errors : [notFound("container", args.container, names.notAsked)]);
      const gathering = createGatheringSink();
      const sink = flags.json ? gathering.sink : createOutputSink({ warn: (text) => this.warning(text) }).sink;
      await client.stream("Logs", { container: found.id, follow: flags.follow, sinceMs, tail, timestamps: flags.timestamps }, sink);
      if (flags.json) this.printJson(gathering.lines());
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}
