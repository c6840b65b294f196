import { fileURLToPath } from "node:url";
import t from "tap";

// A network namespace without a name: it goes with the processes in it, however they end.
const INSIDE = ["answers.ts", "failures.ts"];
for (const file of INSIDE) await t.spawn("unshare", ["--net", process.execPath, fileURLToPath(new URL(`./${file}`, import.meta.url))], {}, file);
