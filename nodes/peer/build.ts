/**
 * Bundles the peer into one file beside what tsc compiled. Its 1,100 modules cost a start more than a second of a core
 * and 20 MB of memory for as long as it runs; the bundle leaves out what nobody calls (locales, other transports).
 *
 *   node nodes/peer/build.ts
 */
import { join } from "node:path";
import { build } from "esbuild";

const top = join(import.meta.dirname, "../..");

await build({
  // The peer starts the second one for each pull, as a process of its own.
  entryPoints: { "cc-peer": join(top, "nodes/peer/main.ts"), "layer-unpacker": join(top, "src/images/drivers/layer-unpacker.ts") },
  outdir: join(top, "dist/nodes/peer"),
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node24",
  // LevelDB is machine code, found beside its package.
  external: ["classic-level"],
  // CommonJS packages inside the bundle ask for Node's own modules in their way.
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  logLevel: "warning",
});
