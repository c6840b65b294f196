import { create } from "@bufbuild/protobuf";
import t from "tap";
import { BidMessageSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { type Answer, toBidMessage } from "../../../src/placement/answers.ts";
import { containerIdOf } from "../../../src/placement/index.ts";
import { KEY, MIB, World } from "./world.ts";

t.test("two-creates: of two creates of one name at once exactly one wins", async (t) => {
  for (const lossy of [false, true]) {
    for (const gapMs of [0, 1, 2, 4]) {
      const world = new World(3);
      // The lowest host's word decides, so it must be waited for where its answer over gossip is lost.
      if (lossy) world.onMessage = (from, _to, kind) => (kind === "bid" && from === world.at(0) ? "drop" : 1);
      const one = world.place(world.at(1), "token-1", { name: "web" });
      await world.time.pass(gapMs);
      const outcomes = await world.time.settle(Promise.all([one, world.place(world.at(2), "token-2", { name: "web" })]));
      const kinds = outcomes.map((outcome) => (outcome.ok ? "placed" : outcome.code)).sort();
      t.ok(kinds[0]?.startsWith("NAME_") && kinds[1] === "placed", `${kinds.join(", ")} after ${gapMs} ms, lossy: ${lossy}`);
      world.stop();
    }
  }
});

t.test("two-creates at one peer: the first goes on", async (t) => {
  const world = new World(3);
  const outcomes = await world.time.settle(Promise.all(["token-1", "token-2", "token-3"].map((token) => world.place(world.at(1), token, { name: "web" }))));
  t.strictSame(
    outcomes.map((outcome) => (outcome.ok ? "placed" : outcome.code)),
    ["placed", "NAME_HELD", "NAME_HELD"],
  );
  world.stop();
});

t.test("a live name is refused at once; after a refusal the same peer may use it again", async (t) => {
  const world = new World(3);
  const first = await world.run(world.at(0), "token-1", { name: "web" });
  t.ok(first.ok);
  t.match(await world.run(world.at(1), "token-2", { name: "web" }), { ok: false, code: "NAME_TAKEN", message: new RegExp(containerIdOf(KEY, "token-1")) });
  t.match(await world.run(world.at(1), "token-3", { name: "big", memoryBytes: 9_999 * MIB }), { ok: false, code: "NO_ROOM" });
  t.match(await world.run(world.at(1), "token-4", { name: "big" }), { ok: true });
  world.stop();
});

t.test("the name is taken though the requester has not heard of it", async (t) => {
  const world = new World(3);
  world.onMessage = (_from, _to, kind) => (kind === "gossip" ? "drop" : 1);
  for (const host of [world.at(0), world.at(2)]) host.own.loadPerCore = 3;
  t.ok((await world.run(world.at(0), "token-1", { name: "web" })).ok);
  t.match(await world.run(world.at(2), "token-2", { name: "web" }), { ok: false, code: "NAME_TAKEN" });
  world.stop();
});

t.test("liar: a host's bare word stops nobody", async (t) => {
  const id = containerIdOf(KEY, "token-1");
  const otherId = containerIdOf(KEY, "token-9");
  const world = new World(3);
  const liar = world.at(0);
  const lies: Answer[] = [
    { kind: "have-it", holding: { holder: liar.peer, epoch: 60 } },
    { kind: "name-taken", otherId },
    { kind: "at-work" },
    { kind: "refused", code: "KEY_REVOKED", reason: "no" },
  ];
  for (const [at, lie] of lies.entries()) {
    liar.topics.clear();
    liar.handlers.set("askBid", (request) => Promise.resolve(toBidMessage((request as { requestId: string }).requestId, lie)));
    liar.topics.set("/cc/bids/1/a", (data) => {
      // It answers from the request's own text, as a host would.
      const requestId = /c[a-z2-7]{20}\.[a-z2-7]{8}/.exec(Buffer.from(data).toString("latin1"))?.[0] ?? "";
      void world.deliver(liar, world.at(2), "bid", () =>
        world.at(2).handlers.get("bid")?.(create(BidMessageSchema, toBidMessage(requestId, lie)), liar.peer, new AbortController().signal),
      );
      return "accept";
    });
    const outcome = await world.run(world.at(2), `token-${at + 1}`, { name: `web-${at}` });
    t.ok(outcome.ok && outcome.holding.holder !== liar.peer, lie.kind);
  }
  t.ok(world.holders(id).length === 1);
  world.stop();
});

t.test("liar: a host that bids low and never answers its awards is passed over by others' requests", async (t) => {
  const world = new World(3);
  const liar = world.at(0);
  for (const host of [world.at(1), world.at(2)]) host.own.loadPerCore = 3;
  liar.handlers.set("awardContainer", () => new Promise(() => undefined));
  t.match(await world.run(world.at(1), "token-1"), { ok: false, code: "OUTCOME_UNKNOWN" });
  const second = await world.run(world.at(1), "token-2");
  t.ok(second.ok && second.holding.holder !== liar.peer);
  world.stop();
});
