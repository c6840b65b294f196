import { createLevelSlot } from "../../../src/state/drivers/level.ts";

/** Writes batches of three records and says the number of each once it is fsynced, until it is killed. */
const [path = "", from = "0"] = process.argv.slice(2);
const store = await createLevelSlot(path, () => 0).open();
for (let batch = Number(from) + 1; batch < Number(from) + 10_000; batch += 1) {
  const put = [0, 1, 2].map((part) => ({ id: `host/x/${String(batch).padStart(6, "0")}/${part}`, frame: new Uint8Array(500).fill(part) }));
  await store.write({ put, meta: { last: String(batch) } });
  process.stdout.write(`${batch}\n`);
}
