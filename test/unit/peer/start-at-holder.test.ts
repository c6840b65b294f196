import t from "tap";
import { changeHandlers } from "../../../nodes/peer/core/handlers/changes.ts";
import type { RecordFrame } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { peerId } from "../identity/fixtures.ts";

const ID = "caaaaaaaaaaaaaaaaaaaa";
const HOLDER = "p-holder";
const WISH = { name: "wish" } as never as RecordFrame;
const CERTIFICATE = { name: "certificate" } as never as RecordFrame;

/** A peer whose holder counts what it was sent as `stored` says, call by call. */
function peer(stored: readonly number[]) {
  const sent: (readonly RecordFrame[])[] = [];
  const taken: (readonly RecordFrame[])[] = [];
  const container = { id: ID, zone: "a", name: "", claims: [], best: { holder: HOLDER, epoch: 1 }, phase: { phase: "ended" }, wanted: undefined };
  const record = { key: `user/a/wanted/${ID}`, version: { major: 1, minor: 0 }, writer: "p-self", frame: WISH };
  const parts = {
    self: peerId("peer 1"),
    zone: "a",
    view: { container: () => container, members: () => [] },
    liveness: { of: () => ({ standing: "alive" }) },
    mesh: {
      connected: () => [HOLDER],
      call: async (_peer: string, _name: string, { frames }: { frames: readonly RecordFrame[] }) => {
        sent.push(frames);
        return { stored: stored[sent.length - 1] ?? 0 };
      },
    },
    replica: {
      get: () => ({ frame: CERTIFICATE }),
      stamp: async () => record,
      take: async (frames: readonly RecordFrame[]) => void taken.push(frames),
    },
  };
  const handlers = changeHandlers(parts as never, (async () => ({ notAsked: [] })) as never);
  const caller = { signed: { body: Buffer.from("{}"), signatureInput: "", signature: Buffer.alloc(64) }, createdMs: 0 };
  const start = () => handlers.start({ containers: [ID], token: "token-of-eight" } as never, { caller, signal: new AbortController().signal } as never);
  return { sent, taken, start };
}

t.test("copies-1: a start that its holder has stored has two copies", async (t) => {
  const { sent, taken, start } = peer([1]);
  t.match(await start(), { done: [ID], errors: [], copies: 2 });
  t.same(sent, [[WISH]]);
  t.same(taken, [[WISH]]);
});

t.test("copies-1: a holder that has not heard of this peer is shown its certificate, and then stores the start", async (t) => {
  const { sent, taken, start } = peer([0, 2]);
  t.match(await start(), { done: [ID], errors: [], copies: 2 });
  t.same(sent, [[WISH], [CERTIFICATE, WISH]]);
  t.same(taken, [[WISH]]);
});

t.test("copies-1: what the holder does not store is not acknowledged", async (t) => {
  const { taken, start } = peer([0, 1]);
  t.match(await start(), { done: [], errors: [{ item: ID, code: "OUTCOME_UNKNOWN" }], wrote: [], copies: 0 });
  t.same(taken, []);
});
