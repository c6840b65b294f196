import { appendFile, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { silentLogger } from "../../../src/base/index.ts";
import { ActJournalFolder } from "../../../src/identity/drivers/act-journal.ts";
import { type Act, KeptActs } from "../../../src/identity/index.ts";
import { MemoryJournal } from "./fixtures.ts";

const S = 1_800_000_000;
const act = (nonce: string, changes: Partial<Act> = {}): Act => ({ keyId: "k1", nonce, id: "", step: "user", createdS: S, ...changes });
const folder = await mkdtemp(join(tmpdir(), "cc-acts-"));
t.teardown(() => rm(folder, { recursive: true, force: true }));

t.test("an act is known after a restart, whatever the clock says then", async (t) => {
  const journal = new MemoryJournal();
  const before = await KeptActs.open(journal, silentLogger);
  for (const one of [act("ahead", { createdS: S + 250 }), act("now"), act("far", { createdS: S + 86_400 })])
    t.equal(await before.take(one, S * 1_000), "fresh");
  const after = await KeptActs.open(journal, silentLogger);
  t.equal(await after.take(act("far", { createdS: S + 86_400 }), 0), "seen");
  t.equal(await after.take(act("ahead", { createdS: S + 250 }), (S + 10) * 1_000), "seen");
  t.equal(await after.take(act("now"), (S + 10) * 1_000), "seen");
  t.equal(await after.take(act("new", { createdS: S + 10 }), (S + 10) * 1_000), "fresh", "an act of another time shuts nobody out");
});

t.test("an act that was signed ahead outlives a power cut: the start alone does not tell that it is old", async (t) => {
  const journal = new MemoryJournal();
  const acts = await KeptActs.open(journal, silentLogger);
  await acts.take(act("ahead", { createdS: S + 1 }), S * 1_000);
  await acts.take(act("now"), S * 1_000);
  t.same(
    journal.lasting.map(({ nonce }) => nonce),
    ["ahead"],
  );
});

t.test("a disk that takes nothing: what was signed ahead is refused, the rest is answered", async (t) => {
  const journal = new MemoryJournal();
  const acts = await KeptActs.open(journal, silentLogger);
  journal.failure = new Error("no space left");
  await t.rejects(acts.take(act("ahead", { createdS: S + 1 }), S * 1_000), { code: "INTERNAL" });
  t.equal(await acts.take(act("now"), S * 1_000), "fresh");
  t.equal(await acts.take(act("now"), S * 1_000), "seen");
  t.equal(await acts.take(act("later", { createdS: S + 900 }), (S + 900) * 1_000), "fresh", "nor does it matter that old ones can't be removed");
});

t.test("what memory forgets the journal forgets", async (t) => {
  const journal = new MemoryJournal();
  const acts = await KeptActs.open(journal, silentLogger);
  await acts.take(act("old"), S * 1_000);
  t.equal(journal.forgottenBelowS, Number.NEGATIVE_INFINITY);
  await acts.take(act("new", { createdS: S + 900 }), (S + 900) * 1_000);
  t.equal(journal.forgottenBelowS, S + 60);
});

t.test("the folder: acts come back, old files go, a line that was cut off spoils no other", async (t) => {
  const path = join(folder, "new", "acts");
  const journal = await ActJournalFolder.open(path);
  t.same(await journal.load(), []);
  const all = [act("a"), act("b", { step: "stream", id: 'c"1' }), act("c", { createdS: S + 90 })];
  for (const each of all) await journal.keep(each, each.nonce !== "b");
  t.equal((await stat(join(path, String(S / 60)))).mode & 0o777, 0o600);
  await appendFile(join(path, String(S / 60)), '\n["k1","half');
  await journal.keep(act("d"), true);
  await writeFile(join(path, "README"), "not ours");
  const again = await ActJournalFolder.open(path);
  t.same(
    (await again.load()).toSorted((one, other) => (one.nonce < other.nonce ? -1 : 1)),
    [...all, act("d")],
  );
  await again.forget(S + 59);
  t.equal((await readdir(path)).length, 3, "a minute that is not over stays");
  await again.forget(S + 60);
  t.same(
    (await again.load()).map(({ nonce }) => nonce),
    ["c"],
  );
  await again.keep(act("e"), true);
  t.equal((await again.load()).length, 2, "a file that went may come again");
});

t.test("the folder: what stands in a file and is no act is passed over", async (t) => {
  const path = join(folder, "odd");
  const journal = await ActJournalFolder.open(path);
  const odd = [
    "",
    "null",
    "{}",
    "[]",
    '["k","n","s","i"]',
    '["k","n","s","i","1"]',
    '["k","n","s","i",1.5]',
    '[1,"n","s","i",1]',
    "[[[",
    '["k","n","s","i",7]',
  ];
  await writeFile(join(path, "1"), odd.join("\n"));
  t.same(await journal.load(), [{ keyId: "k", nonce: "n", step: "s", id: "i", createdS: 7 }]);
  await rm(path, { recursive: true });
  t.same(await journal.load(), []);
  await t.rejects(journal.keep(act("a"), false), { code: "ENOENT" });
});
