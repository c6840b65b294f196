/**
 * Loaded into a peer before its own modules (`node --import`): notes every so often for how long its loop stood still at most, a line
 * `TIME MS`, in `loop.watch` in the folder of the file that it is configured with.
 */
import { appendFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";

const NOTE_MS = 100;
const RESOLUTION_MS = 5;
const config = process.argv[process.argv.indexOf("--config") + 1];

// Not for the programs that it starts.
delete process.env["NODE_OPTIONS"];
if (config !== undefined && process.argv.includes("--config")) {
  const file = join(dirname(config), "loop.watch");
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  setInterval(() => {
    appendFileSync(file, `${Date.now()} ${Math.max(0, delay.max / 1e6 - RESOLUTION_MS)}\n`);
    delay.reset();
  }, NOTE_MS).unref();
}
