import { Command } from "@oclif/core/command";
import type { Config } from "@oclif/core/config";
import * as Flags from "@oclif/core/flags";
import type { Input, ParserOutput } from "@oclif/core/interfaces";
import { parse } from "@oclif/core/parser";
import { type CloudClient, createCloudClient } from "../src/api/client.ts";
import type { ItemError, Written } from "../src/api/client-messages.ts";
import { createDialer } from "../src/api/drivers/dialer.ts";
import type { KeyId, MeshId } from "../src/base/index.ts";
import { systemClock, systemRandom } from "./drivers/clock.ts";
import { provePeer, signWith } from "./drivers/identity.ts";
import { seenFile } from "./drivers/seen-file.ts";
import { ExitCode } from "./failure.ts";
import { seenAbout } from "./seen.ts";
import { gatherSettings, parseSettings, type SettingFlags, type Settings, stateFolder } from "./settings.ts";
import { type Column, plainText, renderFacts, renderTable } from "./terminal.ts";

/** A name or id may come with several times: the parser must not take every following word for one more value. */
export const many = { multiple: true, multipleNonGreedy: true } as const;

export const GLOBAL_FLAGS = {
  "cc-endpoint-url": Flags.string({ helpGroup: "GLOBAL", helpValue: "URL[,URL]", description: "peers to talk to, tried in this order (CC_ENDPOINT_URL)" }),
  "cc-access-token": Flags.string({ helpGroup: "GLOBAL", helpValue: "TOKEN", description: "which key, and which mesh (CC_ACCESS_TOKEN)" }),
  "cc-secret-key": Flags.string({ helpGroup: "GLOBAL", helpValue: "KEY|@FILE", description: "the key itself, better from a file (CC_SECRET_KEY)" }),
  json: Flags.boolean({ helpGroup: "GLOBAL", description: "print one JSON document" }),
} as const;

type Values = Record<string, unknown>;
type Cloud = { readonly client: CloudClient; readonly mesh: MeshId; readonly keyId: KeyId; readonly remember: (written: readonly Written[]) => void };

/**
 * What every command shares: the connection from the three settings, and how results are shown. A command is started
 * without oclif's Config, which would cost it as much again as all its work (main.ts).
 */
export abstract class CloudCommand extends Command {
  static override baseFlags = GLOBAL_FLAGS;
  /** Whether exit codes below 125 belong to a container. */
  static readonly exits: "plain" | "container" = "plain";

  constructor(argv: string[]) {
    super(argv, { bin: "cc" } as Config);
  }

  abstract override run(): Promise<number>;

  /** What the user typed, checked. Throws oclif's errors, which main.ts shows as wrong usage. */
  protected override async parse<F extends Values, B extends Values, A extends Values>(
    options: Input<F, B, A> = {},
    argv = this.argv,
  ): Promise<ParserOutput<F, B, A>> {
    this.parsed = true;
    const flags = { ...options.baseFlags, ...options.flags };
    return await parse(argv, { ...options, flags } as Input<F, B, A>);
  }

  protected connect(flags: SettingFlags): Cloud {
    return this.connectAs(parseSettings(gatherSettings(flags, process.env)));
  }

  protected connectAs({ endpoints, credentials }: Settings): Cloud {
    const file = seenFile(stateFolder(process.env), credentials.mesh);
    const client = createCloudClient(
      {
        dialer: createDialer(provePeer(credentials.mesh)),
        clock: systemClock,
        random: systemRandom,
        seen: (call, request) =>
          call !== "Run" && "container" in request && typeof request.container === "string" ? seenAbout(file.read(), request.container) : file.read(),
        wrote: (written) => file.add(written),
        warn: (text) => this.warning(text),
      },
      { endpoints, mesh: credentials.mesh, sign: signWith(credentials) },
    );
    return { client, mesh: credentials.mesh, keyId: credentials.keyId, remember: file.add };
  }

  protected print(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  protected printJson(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
  }

  protected printTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): void {
    const width = process.stdout.isTTY ? process.stdout.columns : undefined;
    this.print(renderTable(columns, rows, width).join("\n"));
  }

  protected printFacts(facts: readonly (readonly [string, string])[]): void {
    this.print(renderFacts(facts).join("\n"));
  }

  protected note(text: string): void {
    process.stderr.write(`${plainText(text)}\n`);
  }

  protected warning(text: string): void {
    this.note(`Warning: ${text}`);
  }

  /** One line per item that failed; gives the exit code. */
  protected reportErrors(errors: readonly ItemError[]): number {
    for (const { item, code, message } of errors)
      process.stderr.write(`Error [${plainText(code)}]: ${plainText(message.includes(item) ? message : `${item}: ${message}`)}\n`);
    return errors.length === 0 ? ExitCode.done : ExitCode.failed;
  }

  protected reportCopies(copies: number): void {
    if (copies === 1) this.warning("only one host has stored this so far (copies: 1); it would be lost with that host's disk");
  }
}
