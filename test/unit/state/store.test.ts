import { hash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toBinary } from "@bufbuild/protobuf";
import { Level } from "level";
import t from "tap";
import { type RecordFrame, RecordFrameSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { silentLogger } from "../../../src/base/index.ts";
import { createIdentityFile } from "../../../src/state/drivers/identity-file.ts";
import { createLevelSlot } from "../../../src/state/drivers/level.ts";
import { MemoryDisk } from "../../../src/state/drivers/memory.ts";
import { createRecordFiles } from "../../../src/state/drivers/record-files.ts";
import { StoreDamagedError } from "../../../src/state/index.ts";
import { openRecords } from "../../../src/state/opening.ts";
import { fact } from "./fixtures.ts";
import { checkRecordStore } from "./store-contract.ts";

const folder = await mkdtemp(join(tmpdir(), "cc-store-"));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

t.test("memory", async (t) => checkRecordStore(t, new MemoryDisk()));
t.test("level", async (t) =>
  checkRecordStore(
    t,
    createLevelSlot(join(folder, "contract"), () => 17),
  ),
);

t.test("memory: a crash loses what was not fsynced, and only that", async (t) => {
  const syncs: (() => void)[] = [];
  const disk = new MemoryDisk(() => new Promise((resolve) => syncs.push(resolve)));
  const store = await disk.open();
  const first = store.write({ put: [{ id: "a", frame: bytes("1") }] });
  await new Promise(setImmediate);
  syncs.shift()?.();
  await first;
  const image = disk.snapshot();
  void store.write({ put: [{ id: "b", frame: bytes("2") }] });
  await new Promise(setImmediate);
  disk.crash();
  syncs.shift()?.();
  await new Promise(setImmediate);
  t.same(
    (await (await disk.open()).load()).records.map(({ id }) => id),
    ["a"],
  );
  disk.restore({ records: new Map(), meta: {} });
  t.same((await (await disk.open()).load()).records, []);
  disk.restore(image);
  disk.damage();
  await t.rejects((await disk.open()).load(), StoreDamagedError);
});

t.test("level: one opener at a time", async (t) => {
  const slot = createLevelSlot(join(folder, "locked"), () => 17);
  const store = await slot.open();
  await t.rejects(slot.open(), { code: "CONFLICT" });
  await store.close();
});

t.test("level: damage is found, said, set aside, and an empty store takes its place", async (t) => {
  const damages: Record<string, (path: string) => Promise<void>> = {
    "the manifest is rubbish": async (path) => writeFile(join(path, (await readdir(path)).find((name) => name.startsWith("MANIFEST")) ?? ""), "rubbish"),
    "the current file is gone": async (path) => rm(join(path, "CURRENT")),
    "a bit flipped in the log": async (path) => {
      const log = join(path, (await readdir(path)).find((name) => name.endsWith(".log")) ?? "");
      const content = await readFile(log);
      content[content.length - 40] = (content[content.length - 40] ?? 0) ^ 1;
      await writeFile(log, content);
    },
    "a file in the folder's place": async (path) => {
      await rm(path, { recursive: true });
      await writeFile(path, "not a store");
    },
  };
  for (const [name, damage] of Object.entries(damages)) {
    const path = join(folder, name.replaceAll(" ", "-"));
    const slot = createLevelSlot(path, () => 17);
    const first = await openRecords(slot, undefined, silentLogger);
    await first.store.write({ meta: { "store-id": "s1" }, put: [{ id: "host/x", frame: bytes("x".repeat(500)) }] });
    await first.store.close();
    await damage(path);
    const said: string[] = [];
    const log = { ...silentLogger, error: (_fields: object, message: string) => void said.push(message) };
    const opened = await openRecords(slot, { adminFrames: [], storeId: "s1", startNumber: 3 }, log);
    t.match(opened, { lost: true, records: [] }, name);
    t.equal(said.length > 0, true, `${name}: said`);
    await opened.store.close();
  }
  t.ok(
    (await readdir(folder)).some((name) => name.endsWith(".damaged-17")),
    "what was damaged is still there to look at",
  );
});

t.test("level: a value that is not what was written, or another layout, is damage", async (t) => {
  const writes: readonly [string, Uint8Array][] = [
    ["r/host/x", new Uint8Array(20)],
    ["r/host/x", new Uint8Array(3)],
    ["v", Buffer.concat([hash("sha256", "v\n9 0 0", "buffer").subarray(0, 8), Buffer.from("9 0 0")])],
  ];
  for (const [at, [key, value]] of writes.entries()) {
    const path = join(folder, `value-${at}`);
    const slot = createLevelSlot(path, () => 17);
    const store = await slot.open();
    await store.write({ put: [{ id: "host/y", frame: bytes("y") }] });
    await store.close();
    const raw = new Level<string, Uint8Array>(path, { keyEncoding: "utf8", valueEncoding: "view" });
    await raw.put(key, value);
    await raw.close();
    const again = await slot.open();
    await t.rejects(again.load(), StoreDamagedError);
    await again.close();
  }
});

t.test("level: a batch that LevelDB drops out of the middle of its log is damage", async (t) => {
  const path = join(folder, "middle");
  const slot = createLevelSlot(path, () => 17);
  const store = await slot.open();
  await store.write({ meta: { "store-id": "s1" } });
  // Longer than a block of the log: what comes after it is read again from the next block on.
  await store.write({ put: [{ id: "host/x", frame: bytes("x".repeat(40_000)) }] });
  await store.write({ put: [{ id: "host/y", frame: bytes("y") }] });
  await store.close();
  const log = join(path, (await readdir(path)).find((name) => name.endsWith(".log")) ?? "");
  const content = await readFile(log);
  content[1_000] = (content[1_000] ?? 0) ^ 1;
  await writeFile(log, content);
  const again = await slot.open();
  await t.rejects(again.load(), /part of it is missing/);
  await again.close();
});

t.test("a store older than the file beside it remembers is a loss", async (t) => {
  const disk = new MemoryDisk();
  await (await disk.open()).write({ meta: { "store-id": "s1", "start-number": "4" } });
  t.match(await openRecords(disk, { adminFrames: [], storeId: "s1", startNumber: 4 }, silentLogger), { lost: false });
  t.match(await openRecords(disk, { adminFrames: [], storeId: "s1", startNumber: 5 }, silentLogger), { lost: true });
});

t.test("what is stored but is no record is damage; another store than remembered is a loss", async (t) => {
  const disk = new MemoryDisk();
  const store = await disk.open();
  await store.write({ put: [{ id: "host/wrong/place", frame: fact("peer 1", "facts", "self", 1, 1).frame.payload }] });
  t.match(await openRecords(disk, undefined, silentLogger), { lost: true, records: [] });
  const other = new MemoryDisk();
  t.match(await openRecords(other, { adminFrames: [], storeId: "s9", startNumber: 1 }, silentLogger), { lost: true });
  t.match(await openRecords(other, undefined, silentLogger), { lost: false });
});

t.test("the file beside the store: there and back, and what can't be read is as if not there", async (t) => {
  const paths = { adminRecords: join(folder, "admin"), storeMark: join(folder, "mark") };
  const file = createIdentityFile(paths);
  t.equal(await file.load(), undefined);
  const { frame } = fact("peer 1", "facts", "self", 1, 1);
  await file.save({ adminFrames: [frame], storeId: "s", startNumber: 4 });
  const loaded = await file.load();
  t.match(loaded, { storeId: "s", startNumber: 4 });
  t.ok(Buffer.from(frame.payload).equals(loaded?.adminFrames[0]?.payload ?? new Uint8Array()));
  await writeFile(paths.storeMark, "{");
  t.match(await file.load(), { storeId: undefined, startNumber: 0 });
  await writeFile(paths.adminRecords, Buffer.from([0xff, 0xff]));
  t.equal(await file.load(), undefined);
});

t.test("records in files of their own: by id, whole, and what is damaged is passed over", async (t) => {
  const place = join(folder, "beside");
  const files = createRecordFiles(place);
  const [one, two, strange] = ["caaaaaaaaaaaaaaaaaaaa", "vaaaaaaaaaaaaaaaaaaaa", "vbbbbbbbbbbbbbbbbbbbb"];
  const [a, b, c] = ["a", "b", "c"].map((id) => fact("peer 1", "claim", id, 1, 1).frame);
  if (a === undefined || b === undefined || c === undefined) return;
  t.same([...(await files.load())], [], "nothing was saved yet");
  await files.save(one, [a, b]);
  await files.save(two, [c]);
  await files.save(one, [b]);
  await writeFile(join(place, strange), "rubbish");
  await writeFile(join(place, "notes.txt"), "somebody's");
  const loaded = await createRecordFiles(place).load();
  const wire = (frames: readonly RecordFrame[] | undefined): readonly string[] | undefined =>
    frames?.map((frame) => Buffer.from(toBinary(RecordFrameSchema, frame)).toString("hex"));
  t.same([...loaded.keys()].sort(), [one, two, strange]);
  t.same([wire(loaded.get(one)), wire(loaded.get(two)), wire(loaded.get(strange))], [wire([b]), wire([c]), []]);
  await files.remove(one);
  await files.remove(one);
  t.same([...(await files.load()).keys()].sort(), [two, strange]);
});
