import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { InviteLedgerFile } from "../../../src/identity/drivers/invite-ledger.ts";
import { type InviteUse, inviteIdOf } from "../../../src/identity/index.ts";
import { keyId, peerId } from "./fixtures.ts";

const folder = await mkdtemp(join(tmpdir(), "cc-ledger-"));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const inviteId = inviteIdOf(keyId("ann"), "t");
const use = (useNumber: number): InviteUse => ({
  inviteId,
  peerId: peerId(`peer ${useNumber}`),
  name: `peer-${useNumber}`,
  useNumber,
  atMs: 1_000 + useNumber,
});

t.test("what was recorded is there after the next start", async (t) => {
  const path = join(folder, "new", "uses");
  const ledger = await InviteLedgerFile.open(path);
  await ledger.record(use(1));
  await ledger.record(use(2));
  t.same(ledger.usesOf(inviteId), [use(1), use(2)]);
  t.same(ledger.usesOf(inviteIdOf(keyId("ann"), "other")), []);
  await ledger.close();
  t.equal((await stat(path)).mode & 0o777, 0o600);
  const again = await InviteLedgerFile.open(path);
  t.same(again.usesOf(inviteId), [use(1), use(2)]);
  await again.close();
});

t.test("a line cut by a power cut goes, and the next one is whole", async (t) => {
  const path = join(folder, "cut");
  const ledger = await InviteLedgerFile.open(path);
  await ledger.record(use(1));
  await ledger.close();
  await appendFile(path, '{"inviteId":"i');
  const again = await InviteLedgerFile.open(path);
  await again.record(use(2));
  await again.close();
  t.same(
    (await readFile(path, "utf8")).split("\n").map((line) => (line === "" ? undefined : JSON.parse(line))),
    [use(1), use(2), undefined],
  );
});

t.test("fuzz: a whole line that is no use stops the peer rather than forget a use", async (t) => {
  const path = join(folder, "broken");
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.dictionary(fc.constantFrom(...Object.keys(use(1))), fc.jsonValue()).map((fields) => JSON.stringify({ ...use(1), ...fields, useNumber: -1 })),
      ),
      async (line) => {
        await writeFile(path, `${JSON.stringify(use(1))}\n${line.replaceAll("\n", "")}\n`);
        const opened = await InviteLedgerFile.open(path).then(
          (ledger) => ledger.close().then(() => true),
          () => false,
        );
        return !opened;
      },
    ),
    { numRuns: 60 },
  );
  await t.rejects(InviteLedgerFile.open(path), { code: "INTERNAL", message: /line 2/ });
});
