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
const out = join(top, "dist/cli");
const bin = join(top, "dist/bin");
const cache = join(out, "compile-cache");

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

/** The compile cache is filled by running the bundle: help for oclif's half, a failing call for ours. */
function primeCache(): void {
  rmSync(cache, { recursive: true, force: true });
  const environment = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", CC_PRIME_CACHE: "1" };
  for (const words of [["ps"], ["ps"], ["--version"], ["run", "--help"]]) {
    try {
      execFileSync(process.execPath, ["--use-openssl-ca", join(out, "start.cjs"), ...words], { env: environment, stdio: "ignore", timeout: 30_000 });
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
require("node:module").enableCompileCache({ directory: join(__dirname, "compile-cache"), portable: true });
require("./cc.cjs");
`;

/** POSIX shell, because the machine's \`node\` may be too old: finds the checkout's own without starting any process. */
const launcher = (what: string, flags: string, script: string): string => `#!/bin/sh
# ${what} with the Node that scripts/setup brought, else with the machine's own.
self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=\${self%/*}/$link ;; esac
done
case $self in */*) here=\${self%/*} ;; *) here=. ;; esac
for node in "$here"/../../.tools/node/node_modules/node-linux-*/bin/node; do
  [ -x "$node" ] && exec "$node" ${flags} "$here/${script}" "$@"
done
command -v node >/dev/null || { echo "Error [INTERNAL]: no Node found; scripts/setup brings one" >&2; exit 1; }
exec node --use-openssl-ca "$here/${script}" "$@"
`;

const manifest = await readManifest();
mkdirSync(out, { recursive: true });
mkdirSync(bin, { recursive: true });
await build({
  entryPoints: [join(top, "cli/main.ts")],
  outfile: join(out, "cc.cjs"),
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node24",
  // Development only; without these the bundle is 10 MB.
  external: ["typescript", "ts-node", "pnpapi"],
  plugins: [manifestPlugin(manifest), lazyRequires(join(top, "node_modules/@oclif/core/lib"))],
  logLevel: "warning",
});
writeFileSync(join(out, "start.cjs"), START);
for (const name of ["cc", "ccloud"]) writeFileSync(join(bin, name), launcher("Starts the command line", "--use-openssl-ca --disable-sigusr1", "../cli/start.cjs"));
writeFileSync(join(bin, "cc-peer"), launcher("Starts the peer", "", "../nodes/peer/main.js").replace("exec node --use-openssl-ca", "exec node"));
for (const name of ["cc", "ccloud", "cc-peer"]) chmodSync(join(bin, name), 0o755);
primeCache();
