import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import t from "tap";
import { createLevelSlot } from "../../../src/state/drivers/level.ts";

const WRITER = fileURLToPath(new URL("./store-writer.ts", import.meta.url));

t.test("a peer killed with -9 in the middle of its writes: what was acknowledged is there, no batch in half", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "cc-store-killed-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "store");
  let expected = 0;
  for (let life = 0; life < 5; life += 1) {
    const child = spawn(process.execPath, [WRITER, path, String(expected)], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    for await (const line of createInterface({ input: child.stdout })) {
      expected = Number(line);
      if (expected % 100 >= 20 + life * 15) child.kill("SIGKILL");
    }
    await ended;
    const store = await createLevelSlot(path, () => 0).open();
    const { records, meta } = await store.load();
    await store.close();
    const written = Number(meta["last"]);
    t.ok(written >= expected, `life ${life}: acknowledged ${expected}, found ${written}`);
    t.equal(records.length, written * 3, "three records a batch, all or none");
    expected = written;
  }
});
