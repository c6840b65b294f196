import { readFileSync } from "node:fs";
import type { CloudClient } from "../../src/api/client.ts";
import type { BidAnswer } from "../../src/api/client-messages.ts";
import { decodeAnswers } from "../../src/api/client-replies.ts";
import { CcError } from "../../src/base/index.ts";
import { CloudCommand } from "../cloud-command.ts";
import { renderAnswers } from "../explain.ts";
import { ExitCode, UsageError } from "../failure.ts";
import { isLocalImage } from "../image-source.ts";
import { runAttached, untilPlaced } from "../run-attached.ts";
import { withIds } from "../run-names.ts";
import { buildSpec, RUN_FLAGS } from "../run-options.ts";
import { resolveSetting } from "../settings.ts";
import { splitCommand } from "../split-command.ts";

export default class Run extends CloudCommand {
  static override summary = "Run a command in a new container, on the host that suits it best.";
  static override description =
    `Without --detach its output comes here, stdout and stderr apart, and its exit status is this command's: 125 when the cloud failed, 126 and 127 when the command could not be invoked or was not found. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to it; three Ctrl-C within 2 seconds leave it to itself. Options end at the command.`;
  static override usage = "run --image IMAGE [OPTION...] [--] [COMMAND [ARG...]]";
  static override examples = [
    "<%= config.bin %> run --image alpine echo hello",
    "<%= config.bin %> run --image nginx --name web --detach --memory 512m --restart always",
    "<%= config.bin %> run --image alpine -i -- sh -c 'wc -l' < /etc/passwd",
  ];
  static override flags = RUN_FLAGS;
  static override strict = false;
  static override readonly exits = "container" as const;
  /** Words before the command that runs inside. */
  static readonly wordsBeforeCommand = 0;

  override async run(): Promise<number> {
    const { options, command } = splitCommand(this.argv, { ...Run.baseFlags, ...Run.flags }, Run.wordsBeforeCommand);
    const { flags } = await this.parse({ flags: Run.flags, baseFlags: Run.baseFlags }, options);
    const built = buildSpec(flags, command, { environment: process.env, readFile: readOptionFile, resolveSecret: resolveSetting });
    const { client, remember } = this.connect(flags);
    try {
      const spec = await this.withImageBrought(client, await withIds(client, built));
      const request = { spec, explain: flags.explain } as const;
      if (!flags.detach) {
        return await runAttached(
          client,
          request,
          { input: flags.interactive, json: flags.json, remember, nowMs: () => performance.now() },
          {
            note: (text) => this.note(text),
            warn: (text) => this.warning(text),
            copies: (copies) => this.reportCopies(copies),
            answers: (answers) => this.showAnswers(answers),
            json: (value) => this.printJson(value),
          },
        );
      }
      const reply = await untilPlaced(
        () => client.call("Run", request),
        (text) => this.note(text),
      );
      if (flags.explain) this.showAnswers(reply.answers);
      for (const warning of reply.warnings) this.warning(warning);
      if (flags.json)
        this.printJson({
          id: reply.id,
          host: reply.host,
          copies: reply.copies,
          warnings: reply.warnings,
          ...(flags.explain ? { answers: reply.answers } : {}),
        });
      else this.print(reply.id);
      this.reportCopies(reply.copies);
      return ExitCode.done;
    } catch (error) {
      if (flags.explain && error instanceof CcError) this.showAnswersOf(error);
      throw error;
    } finally {
      client.close();
    }
  }

  /** An image of this machine is brought first; from then on the container names it by its digest. */
  private async withImageBrought(client: CloudClient, spec: ReturnType<typeof buildSpec>): Promise<ReturnType<typeof buildSpec>> {
    if (spec.image === undefined || !isLocalImage(spec.image)) return spec;
    const { pushImage } = await import("../push-image.ts");
    const { reference, copies } = await pushImage(client, spec.image, { note: (text) => this.note(text), warn: (text) => this.warning(text) });
    this.reportCopies(copies);
    return { ...spec, image: reference };
  }

  private showAnswers(answers: readonly BidAnswer[]): void {
    if (answers.length > 0) process.stderr.write(`${renderAnswers(answers, process.stderr.isTTY ? process.stderr.columns : undefined).join("\n")}\n`);
  }

  /** A refusal may carry the hosts' answers among its details. */
  private showAnswersOf(error: CcError): void {
    const text = error.details["answers"];
    if (text === undefined) return;
    try {
      const answers: unknown = JSON.parse(text);
      if (Array.isArray(answers)) this.showAnswers(decodeAnswers(answers));
    } catch {
      // Not what this version knows: the error's own sentence names the reasons too.
    }
  }
}

function readOptionFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`--env-file ${file} cannot be read (${error instanceof Error && "code" in error ? String(error.code) : "unknown"})`);
  }
}
