/**
 * Loaded before anything else (`node --import`): the source of the mutation whose place in the list stands in
 * SIMULATED_MUTATION is patched while it is loaded. Production code has no switches.
 */
import { registerHooks } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { patched } from "./mutation.ts";
import { MUTATIONS } from "./mutations.ts";

const top = join(import.meta.dirname, "../../..");
const { patches } = MUTATIONS[Number(process.env["SIMULATED_MUTATION"])] ?? { patches: [] };

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.startsWith("file:")) return loaded;
    const file = relative(top, fileURLToPath(url));
    if (!patches.some((patch) => patch.file === file) || loaded.source === undefined || loaded.source === null) return loaded;
    const source = typeof loaded.source === "string" ? loaded.source : Buffer.from(loaded.source as Uint8Array).toString("utf8");
    return { ...loaded, source: patched(source, file, patches) };
  },
});
