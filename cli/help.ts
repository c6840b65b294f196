import { Config } from "@oclif/core/config";
import { Help } from "@oclif/core/help";
import type { Plugin } from "@oclif/core/interfaces";
import { COMMANDS, TOPICS } from "./commands.ts";

type Manifest = { readonly version: string; readonly commands: { readonly [id: string]: { readonly id: string } } };

const NAME = "container-cloud";

/** oclif's help of everything, a topic or a command, from the manifest alone. */
export async function showHelp(manifest: Manifest, words: readonly string[]): Promise<void> {
  // Themes would be one more file to read, and to be surprised by.
  process.env["CC_DISABLE_THEME"] = "1";
  const pjson = {
    name: NAME,
    version: manifest.version,
    description: "cc: run containers on a mesh of equal hosts",
    oclif: { bin: "cc", dirname: NAME, topicSeparator: " ", topics: TOPICS, helpOptions: { flagSortOrder: "none" } },
  };
  const commands = Object.values(manifest.commands).map((command) => ({
    ...command,
    pluginName: NAME,
    pluginType: "core",
    load: async () => (await COMMANDS[command.id]?.())?.default,
  }));
  const topics = Object.entries(TOPICS).map(([name, { description }]) => ({ name, description }));
  const plugin = {
    _base: "",
    alias: NAME,
    name: NAME,
    version: manifest.version,
    root: __dirname,
    type: "core",
    moduleType: "commonjs",
    isRoot: true,
    valid: true,
    hasManifest: true,
    commandsDir: undefined,
    hooks: {},
    options: { root: __dirname },
    pjson,
    topics,
    commands,
    commandIDs: Object.keys(manifest.commands),
    load: async () => undefined,
    findCommand: async (id: string) => await commands.find((command) => command.id === id)?.load(),
  };
  // The plugin is put together here rather than found on disk; oclif asks no more of one than this.
  const plugins = new Map<string, Plugin>([[NAME, plugin as object as Plugin]]);
  const config = await Config.load({ root: __dirname, pjson: pjson as object as Config["pjson"], plugins });
  await new Help(config, { maxWidth: 100 }).showHelp([...words]);
}
