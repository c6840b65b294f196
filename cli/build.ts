/**
 * Builds the command line into dist/: one bundle (cli/cc.cjs), V8's compile cache of it beside it, and the programs cc,
 * ccloud and cc-peer in dist/bin. Why so: main.ts.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { COMMANDS } from "./commands.ts";
import { lazyRequires } from "./lazy-requires.ts";

const top = join(import.meta.dirname, "..");

/** What oclif would find by loading every command: read once, here. */
async function readManifest(): Promise<object> {
  const pjson: { version?: unknown } = JSON.parse(readFileSync(join(top, "package.json"), "utf8"));
  // Not among the package's exports; `oclif manifest` uses the same function, but wants a compiled tree and its own settings.
  const { cacheCommand } = (await import(join(top, "node_modules/@oclif/core/lib/util/cache-command.js"))).default;
  const commands: Record<string, unknown> = {};
  for (const [id, load] of Object.entries(COMMANDS)) {
    const { default: command } = await load();
    commands[id] = { ...(await cacheCommand(command)), id };
  }
  return { version: pjson.version, commands };
}

function manifestPlugin(manifest: object): Plugin {
  return {
    name: "manifest",
    setup(bundler) {
      bundler.onResolve({ filter: /^cc:manifest$/ }, () => ({ path: "manifest", namespace: "cc" }));
      bundler.onLoad({ filter: /.*/, namespace: "cc" }, () => ({ contents: JSON.stringify(manifest), loader: "json" }));
      // Tells Windows' Linux from others, and imports what finds that out: no matter here.
      bundler.onResolve({ filter: /^wsl-utils$/ }, () => ({ path: "wsl", namespace: "wsl" }));
      bundler.onLoad({ filter: /.*/, namespace: "wsl" }, () => ({ contents: "export const isWsl = false;", loader: "js" }));
    },
  };
}

/** The compile cache is filled by running the bundle: a failing call for our half, help for oclif's. */
function primeCache(out: string): void {
  rmSync(join(out, "compile-cache"), { recursive: true, force: true });
  const environment = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", CC_PRIME_CACHE: "1" };
  for (const words of [["ps"], ["ps"], ["--version"], ["run", "--help"]]) {
    try {
      execFileSync(process.execPath, ["--use-openssl-ca", "--", join(out, "start.cjs"), ...words], { env: environment, stdio: "ignore", timeout: 30_000 });
    } catch {
      // A call without settings fails, as it should; what was compiled on the way is kept.
    }
  }
}

const START = `"use strict";
if (Number(process.versions.node.split(".")[0]) < 24) {
  console.error("Error [INTERNAL]: cc needs Node 24 or newer, this is " + process.version + "; scripts/setup brings one");
  process.exit(1);
}
const { join } = require("node:path");
const directory = join(__dirname, "compile-cache");
if (require("node:fs").existsSync(directory) || process.env.CC_PRIME_CACHE === "1") require("node:module").enableCompileCache({ directory, portable: true });
require("./cc.cjs");
`;

/**
 * POSIX shell, because the machine's \`node\` may be too old: finds the checkout's own without starting any process. The
 * \`--\` is needed: without it Node takes an \`--env-file\` behind the script for its own, and reads it into its environment.
 */
const launcher = (what: string, flags: string, script: string): string => `#!/bin/sh
# ${what} with the Node that scripts/setup brought, else with the machine's own.
self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=\${self%/*}/$link ;; esac
done
case $self in */*) here=\${self%/*} ;; *) here=. ;; esac
for node in "$here"/../../.tools/node/node_modules/node-linux-*/bin/node; do
  [ -x "$node" ] && exec "$node" ${flags} -- "$here/${script}" "$@"
done
command -v node >/dev/null || { echo "Error [INTERNAL]: no Node found; scripts/setup brings one" >&2; exit 1; }
exec node -- "$here/${script}" "$@"
`;

/** Node opens its debugger on SIGUSR1, to every user of the machine; `cc` passes that signal on to containers. */
const NO_DEBUGGER = "--disable-sigusr1";
/**
 * Bytes in buffers count towards the heap's limit, which grows, and are not a reason by themselves to collect everything
 * whenever 64 MiB of them have come: of a stream between peers, libp2p leaves 4 buffers for each 64 KiB.
 */
const PEER_FLAGS = `${NO_DEBUGGER} --external-memory-accounted-in-global-limit`;

/** `out` gets the programs in bin/ and the bundle in cli/. Without priming every start compiles anew: for tests. */
export async function buildCommandLine(out: string, options: { readonly prime: boolean }): Promise<void> {
  const cli = join(out, "cli");
  const bin = join(out, "bin");
  mkdirSync(cli, { recursive: true });
  mkdirSync(bin, { recursive: true });
  await build({
    entryPoints: [join(top, "cli/main.ts")],
    outfile: join(cli, "cc.cjs"),
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node24",
    // Development only; without these the bundle is 10 MB.
    external: ["typescript", "ts-node", "pnpapi"],
    plugins: [manifestPlugin(await readManifest()), lazyRequires(join(top, "node_modules/@oclif/core/lib"))],
    logLevel: "warning",
  });
  writeFileSync(join(cli, "start.cjs"), START);
  for (const name of ["cc", "ccloud"])
    writeFileSync(join(bin, name), launcher("Starts the command line", `${NO_DEBUGGER} --use-openssl-ca`, "../cli/start.cjs"));
  writeFileSync(join(bin, "cc-peer"), launcher("Starts the peer", PEER_FLAGS, "../nodes/peer/cc-peer.js"));
  for (const name of ["cc", "ccloud", "cc-peer"]) chmodSync(join(bin, name), 0o755);
  if (options.prime) primeCache(cli);
}

if (import.meta.main) await buildCommandLine(join(top, "dist"), { prime: true });
