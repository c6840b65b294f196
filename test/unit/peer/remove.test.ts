import t from "tap";
import { changeHandlers } from "../../../nodes/peer/core/handlers/changes.ts";
import { containerIdOf, type Draft, type StoredRecord } from "../../../src/state/index.ts";
import { changes, claims, creates, Desk, grants, idOf, keyId, MEMBERS, peerId, revokes, ZONE } from "../state/view-fixtures.ts";

const WEB = idOf("web");

/** A peer, "peer 1", that knows these records; what its remove of one id answers and writes. */
async function removes(id: string, ...records: readonly StoredRecord[]) {
  const { view } = new Desk().take(...MEMBERS, ...records);
  const wrote: Draft[] = [];
  const parts = {
    self: peerId("peer 1"),
    zone: ZONE,
    view,
    liveness: { of: () => ({ standing: "alive" }) },
    replica: {
      write: async (drafts: readonly Draft[]) => {
        wrote.push(...drafts);
        return { records: drafts.map(({ key }) => ({ key, version: { major: 1, minor: 0 }, writer: peerId("peer 1") })), copies: 2 };
      },
    },
  };
  const handlers = changeHandlers(parts as never, (async () => []) as never);
  const caller = { signed: { body: Buffer.from("{}"), signatureInput: "", signature: Buffer.alloc(64) } };
  const answer = await handlers.remove(
    { containers: [id], token: "token-of-eight", force: true } as never,
    { caller, signal: new AbortController().signal } as never,
  );
  return { answer, wrote: wrote.map(({ key, final }) => ({ key, final })) };
}

t.test("liar: what only another peer's stamp has removed is stamped here too; what this peer has stamped is not again", async (t) => {
  const create = creates("web");
  const held = [create, claims("peer 2", create)];
  const others = await removes(WEB, ...held, changes("Remove", [WEB], { at: "liar" }));
  t.match(others, { answer: { done: [WEB], errors: [], copies: 2 }, wrote: [{ key: new RegExp(`^user/.*/wanted/${WEB}$`), final: true }] });
  const own = await removes(WEB, ...held, changes("Remove", [WEB], { at: "peer 1" }));
  t.match(own, { answer: { done: [WEB], errors: [], copies: 0 }, wrote: [] });
  t.equal(own.wrote.length, 0);
});

t.test("revoked-owner: what counts for nobody and may run somewhere is removed by its id; what nobody has heard of is done", async (t) => {
  const create = creates("web", { ms: 40_000 });
  const unlisted = await removes(WEB, grants("x", "operator"), create, claims("peer 2", create), revokes("ann", {}, "root", 30_000));
  t.match(unlisted, { answer: { done: [WEB], errors: [] }, wrote: [{ final: true }] });
  const unknown = containerIdOf(keyId("ann"), "nobody's token");
  const absent = await removes(unknown, create);
  t.match(absent.answer, { done: [unknown], errors: [] });
  t.equal(absent.wrote.length, 0);
});
