import { fileURLToPath } from "node:url";
import t from "tap";

// As names.test.ts.
await t.spawn("unshare", ["--net", process.execPath, fileURLToPath(new URL("./load.ts", import.meta.url))], {}, "load");
