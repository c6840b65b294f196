import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { PeerId } from "../../../src/base/index.ts";
import { silentLogger } from "../../../src/base/index.ts";
import { systemClock } from "../../../src/host/index.ts";
import { openAddressFile } from "../../../src/mesh/drivers/address-file.ts";

const peer = (letter: string): PeerId => `12D3KooW${letter.repeat(44)}` as PeerId;
const folder = await mkdtemp(join(tmpdir(), "cc-addresses-"));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const path = join(folder, "addresses.json");
const open = () => openAddressFile(path, systemClock, silentLogger);

t.test("addresses outlive the process, within their bounds", async (t) => {
  const book = await open();
  t.same(book.addressesOf(peer("A")), []);
  book.remember(peer("A"), ["/ip4/10.0.0.1/tcp/7411"]);
  book.remember(
    peer("B"),
    Array.from({ length: 30 }, (_, n) => `/ip4/10.0.0.${n}/tcp/1`),
  );
  book.remember(peer("C"), []);
  book.remember(peer("D"), ["x".repeat(1_000)]);
  await book.flush();
  const again = await open();
  t.same(again.addressesOf(peer("A")), ["/ip4/10.0.0.1/tcp/7411"]);
  t.equal(again.addressesOf(peer("B")).length, 8);
  t.same(again.addressesOf(peer("C")), []);
  t.same(again.addressesOf(peer("D")), []);
});

t.test("what did not change is not written", async (t) => {
  const book = await open();
  const before = await readFile(path, "utf8");
  await writeFile(path, "changed behind its back");
  book.remember(peer("A"), ["/ip4/10.0.0.1/tcp/7411"]);
  await book.flush();
  t.equal(await readFile(path, "utf8"), "changed behind its back");
  await writeFile(path, before);
});

t.test("a damaged file is an empty one", async (t) => {
  for (const text of ["", "{", "[1]", "null", '{"nobody":["/ip4/1.1.1.1"]}', `{"${peer("A")}":"no list"}`, `{"${peer("A")}":[7,{}]}`]) {
    await writeFile(path, text);
    t.same((await open()).addressesOf(peer("A")), [], text);
  }
});
