import { dirname, resolve } from "node:path";
import * as Args from "@oclif/core/args";
import { sleep } from "../../src/base/index.ts";
import { CloudCommand, GLOBAL_FLAGS } from "../cloud-command.ts";
import { complete } from "../completion.ts";
import { systemClock } from "../drivers/clock.ts";
import { nameCache } from "../drivers/name-cache.ts";
import { ExitCode, UsageError } from "../failure.ts";
import { LIVE_NAMES } from "../live-names.ts";
import type { Kind } from "../names.ts";
import { gatherSettings, parseSettings, stateFolder } from "../settings.ts";
import { SHELLS, shellScript } from "../shell-scripts.ts";
import { plainText } from "../terminal.ts";

/** Whoever presses a key waits for it: a peer that takes longer has no names to offer. */
const PEER_MS = 1_000;

export default class Autocomplete extends CloudCommand {
  static override summary = "Complete words in your shell: commands, flags, and names of what there is.";
  static override description =
    "Prints what your shell has to read; how it is set up for good stands in its first lines. Names are asked of your peer, which gets a second, and are kept for a few; without one only commands and flags are completed.";
  static override examples = ['eval "$(<%= config.bin %> autocomplete bash)"', "<%= config.bin %> autocomplete zsh", "<%= config.bin %> autocomplete fish"];
  static override args = { shell: Args.string({ ignoreStdin: true, required: true, options: [...SHELLS], description: "which shell" }) };

  override async run(): Promise<number> {
    // What the shell calls; no flag of its own, since people have no use for it.
    if (this.argv[0] === "--complete") return await this.offer(this.argv.slice(this.argv[1] === "--" ? 2 : 1));
    const { args } = await this.parse(Autocomplete);
    const shell = SHELLS.find((each) => each === args.shell);
    if (shell === undefined) throw new UsageError(`${args.shell} is none of ${SHELLS.join(", ")}`);
    // The programs lie beside this bundle's folder: build.ts.
    process.stdout.write(shellScript(shell, resolve(dirname(process.argv[1] ?? ""), "../bin")));
    return ExitCode.done;
  }

  /** Prints what may stand at the cursor. Whatever goes wrong offers nothing: a shell shows no errors here. */
  private async offer(typed: readonly string[]): Promise<number> {
    const { default: manifest } = await import("cc:manifest");
    // bash parts `--name=value` into three.
    const words = [...typed.slice(0, -1).filter((word) => word !== "="), ...typed.slice(-1).map((word) => (word === "=" ? "" : word))];
    const { words: known, live } = complete(words, manifest.commands, GLOBAL_FLAGS);
    const names = live === undefined ? [] : await this.namesOf(live);
    const offered = [...new Set([...known, ...names])].filter((word) => word !== "" && word === plainText(word) && word.startsWith(words.at(-1) ?? ""));
    if (offered.length > 0) this.print(offered.join("\n"));
    return ExitCode.done;
  }

  private async namesOf(kind: Kind): Promise<readonly string[]> {
    try {
      const settings = parseSettings(gatherSettings({}, process.env));
      const cache = nameCache(stateFolder(process.env), settings.credentials.mesh);
      const kept = cache.read(kind, Date.now());
      if (kept !== undefined) return kept;
      const { client } = this.connectAs(settings);
      const late = sleep(systemClock, PEER_MS).then(() => undefined);
      const names = await Promise.race([LIVE_NAMES[kind](client), late]);
      client.close();
      if (names === undefined) return [];
      cache.write(kind, names);
      return names;
    } catch {
      // No settings, no peer, no right to ask: then no names.
      return [];
    }
  }
}
