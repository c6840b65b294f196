import { fileURLToPath } from "node:url";
import t from "tap";

// A network namespace without a name: it goes with the processes in it, however they end.
await t.spawn("unshare", ["--net", process.execPath, fileURLToPath(new URL("./answers.ts", import.meta.url))], {}, "answers");
