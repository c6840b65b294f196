import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { BidAnswerSchema } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { AwardRequestSchema, BidMessageSchema, BidRequestSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { AwardSchema, StampedRequestSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { CcError } from "../../../src/base/index.ts";
import { type Answer, fromBidMessage, toBidMessage } from "../../../src/placement/answers.ts";
import { isDeclineOf, makeAward, makeDecline, openAward } from "../../../src/placement/award.ts";
import { containerIdOf } from "../../../src/placement/index.ts";
import { userKey } from "../../../src/state/index.ts";
import { cheapVerifier, KEY, keysOf } from "./fake-requests.ts";
import { World } from "./world.ts";

const id = containerIdOf(KEY, "token-1");
const signerOf = (name: string) => ({ sign: keysOf(name).sign });

t.test("answers survive their message; other messages give undefined or an answer, never a throw", async (t) => {
  const holding = { holder: keysOf("x").peer, epoch: 4 };
  const answers: Answer[] = [
    { kind: "bid", price: 1.5, terms: { memory: 1, labels: -20 }, validForMs: 2_000 },
    { kind: "bid", price: 1.5, terms: {}, validForMs: 2_000, unsettled: holding },
    { kind: "refused", code: "NO_ROOM", reason: "all: full" },
    { kind: "have-it", holding },
    { kind: "at-work" },
    { kind: "name-taken", otherId: id },
    { kind: "name-held", otherId: id },
  ];
  for (const answer of answers) t.same(fromBidMessage(fromBinary(BidMessageSchema, toBinary(BidMessageSchema, toBidMessage("r", answer)))), answer);
  const kinds = fc.oneof(fc.constantFrom("bid", "refused", "have-it", "at-work", "name-taken", "name-held", "silent"), fc.string());
  fc.assert(
    fc.property(
      kinds,
      fc.double(),
      fc.dictionary(fc.string(), fc.double()),
      fc.string(),
      fc.double(),
      fc.string(),
      fc.nat(),
      (kind, price, terms, text, validForMs, holder, epoch) => {
        const answer = fromBidMessage(
          create(BidMessageSchema, { answer: create(BidAnswerSchema, { kind, price, terms, reason: text }), validForMs, holder, epoch, otherId: text }),
        );
        if (answer?.kind !== "bid") return answer?.kind !== "have-it" || answer.holding.epoch > 0;
        return Number.isFinite(answer.price) && answer.validForMs > 0 && answer.validForMs <= 2_000;
      },
    ),
  );
  t.equal(fromBidMessage(create(BidMessageSchema, {})), undefined);
  t.match(fromBidMessage(create(BidMessageSchema, { answer: { kind: "later" } })), { kind: "refused" });
});

t.test("an award opens only as it was signed: any changed byte refuses it", async (t) => {
  const world = new World(2);
  const [requester, holder] = [world.at(0), world.at(1)];
  const request = world.request(requester, "token-1");
  const content = toBinary(StampedRequestSchema, create(StampedRequestSchema, { request }));
  const stamp = await requester.replica.stamp({ key: userKey(requester.zone, "container", id), content });
  const terms = { id, epoch: 1, holder: holder.peer, awardedAtMs: 5 };
  const award = makeAward(terms, stamp, signerOf(requester.name));
  t.match(openAward(award, cheapVerifier), { ok: true, value: { id, epoch: 1, holder: holder.peer, requester: requester.peer } });
  t.match(openAward(makeAward(terms, stamp, signerOf(holder.name)), cheapVerifier), { ok: false, code: "UNAUTHENTICATED" }, "signed by another than the stamp");
  t.match(openAward(makeAward({ ...terms, epoch: 65 }, stamp, signerOf(requester.name)), cheapVerifier), { ok: false, code: "BAD_REQUEST" });
  t.match(openAward(makeAward({ ...terms, id: containerIdOf(KEY, "other") }, stamp, signerOf(requester.name)), cheapVerifier), { ok: false });
  t.notOk(openAward(undefined, cheapVerifier).ok);
  const bytes = toBinary(AwardSchema, award);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const changed = Uint8Array.from(bytes, (byte, index) => (index === at ? byte ^ change : byte));
      let decoded: ReturnType<typeof create<typeof AwardSchema>> | undefined;
      try {
        decoded = fromBinary(AwardSchema, changed);
      } catch {
        return true;
      }
      const opened = openAward(decoded, cheapVerifier);
      // Bytes outside the three signed fields may be dropped in decoding; what opens is the same award.
      return (
        !opened.ok ||
        (opened.value.id === id &&
          opened.value.epoch === 1 &&
          opened.value.holder === holder.peer &&
          opened.value.record.hash.every((byte, index) => byte === stamp.hash[index]))
      );
    }),
    { numRuns: 400 },
  );
  world.stop();
});

t.test("a decline is believed for its own award and by its own host's signature only", async (t) => {
  const terms = { id, epoch: 2, holder: keysOf("holder").peer };
  const decline = makeDecline({ ...terms, declinedAtMs: 1 }, signerOf("holder"));
  t.ok(isDeclineOf(terms, decline, cheapVerifier));
  t.notOk(isDeclineOf({ ...terms, epoch: 3 }, decline, cheapVerifier));
  t.notOk(isDeclineOf({ ...terms, holder: keysOf("other").peer }, decline, cheapVerifier));
  t.notOk(isDeclineOf(terms, makeDecline({ ...terms, declinedAtMs: 1 }, signerOf("relay")), cheapVerifier));
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 80 }),
      fc.uint8Array({ maxLength: 80 }),
      (signedDecline, signature) => !isDeclineOf(terms, { signedDecline, signature }, cheapVerifier),
    ),
  );
});

t.test("a holder meets any message with an answer or a clean refusal, and claims nothing from it", async (t) => {
  const world = new World(2);
  const [from, to] = [world.at(0), world.at(1)];
  const handle = (name: string, request: unknown): Promise<unknown> =>
    to.handlers.get(name)?.(request, from.peer, new AbortController().signal) ?? Promise.reject(new Error("no handler"));
  const text = fc.oneof(fc.string(), fc.constantFrom(id, from.peer, to.peer));
  await fc.assert(
    fc.asyncProperty(
      text,
      text,
      text,
      fc.array(text, { maxLength: 3 }),
      fc.uint8Array({ maxLength: 64 }),
      async (requestId, container, requester, exclude, bytes) => {
        const bidRequest = create(BidRequestSchema, { requestId, container, requester, exclude, request: world.request(from, "token-1") });
        const award = create(AwardRequestSchema, { award: { signed: bytes, signature: bytes, request: { frame: 1, payload: bytes, signature: bytes } } });
        for (const call of [handle("askBid", bidRequest), handle("awardContainer", award), handle("awardContainer", create(AwardRequestSchema))]) {
          await call.catch((thrown: unknown) => {
            if (!(thrown instanceof CcError)) throw thrown;
          });
        }
        const topic = to.topics.get("/cc/bids/1/a");
        return topic?.(bytes, from.peer) !== "reject" && topic?.(toBinary(BidRequestSchema, bidRequest), from.peer) !== "reject";
      },
    ),
    { numRuns: 200 },
  );
  t.equal(to.replica.records.size, 0);
  t.equal(to.placement.holder.used.containers, 0);
  world.stop();
});
