import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { HandOverTermsSchema, type SignedHandOver, SignedHandOverSchema, VolumeHoldingSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import type { VolumeId } from "../../../src/base/index.ts";
import { handOverBytes, type StoredRecord, userKey, volumeIdOf } from "../../../src/state/index.ts";
import { keyPair } from "../identity/fixtures.ts";
import { stampedBy } from "./fixtures.ts";
import { type At, asks, claims, creates, Desk, keyId, MEMBERS, NOW, own, peerId, removes, revokes, says, ZONE } from "./view-fixtures.ts";

const idOf = (name: string, by = "ann", at = "peer 1"): VolumeId => volumeIdOf(keyId(by), `token of ${name}`, peerId(at));

/** The stamped create of a volume at a peer, its first holder. */
function makes(name: string, at: At & { readonly id?: VolumeId } = {}): StoredRecord {
  const peer = at.at ?? "peer 1";
  const signed = asks("CreateVolume", { token: `token of ${name}`, name, sizeBytes: 1_000 }, at);
  return stampedBy(peer, userKey(ZONE, "volume", at.id ?? idOf(name, at.by, peer)), signed, NOW + (at.ms ?? 0));
}

function handOver(id: VolumeId, from: string, to: string, epoch: number, signer = from): SignedHandOver {
  const signed = toBinary(HandOverTermsSchema, create(HandOverTermsSchema, { volume: id, epoch, from: peerId(from), to: peerId(to), handedAtMs: NOW }));
  return create(SignedHandOverSchema, { signed, signature: keyPair(signer).signer.sign(handOverBytes(signed)) });
}

type Holding = {
  readonly epoch?: number;
  readonly state?: string;
  readonly warrant?: readonly SignedHandOver[];
  readonly handed?: SignedHandOver;
  readonly final?: boolean;
  readonly minor?: number;
};

function holds(host: string, made: StoredRecord, { epoch = 1, state = "fresh", warrant = [], handed, final, minor }: Holding = {}): StoredRecord {
  const id = made.key.split("/").at(-1) ?? "";
  const content = toBinary(
    VolumeHoldingSchema,
    create(VolumeHoldingSchema, { volume: id, epoch, request: made.frame, state, warrant: [...warrant], ...(handed && { handed }), changedAtMs: NOW }),
  );
  return own(host, "volume", id, content, { major: 1, minor: minor ?? 30 + epoch }, final ?? state === "gone");
}

function deletes(id: VolumeId, at: At & { readonly names?: VolumeId; readonly call?: string } = {}): StoredRecord {
  const signed = asks(at.call ?? "DeleteVolumes", { token: "delete it now", volumes: [at.names ?? id] }, at);
  return stampedBy(at.at ?? "peer 1", userKey(ZONE, "wanted", id), signed, NOW + (at.ms ?? 0), 0, true);
}

const DATA = idOf("data");
const data = makes("data");
const desk = (...records: readonly StoredRecord[]): Desk => new Desk().take(...MEMBERS, ...records);
const seen = (...records: readonly StoredRecord[]) => desk(data, ...records).view.volume(DATA);
const toTwo = handOver(DATA, "peer 1", "peer 2", 2);
const toThree = handOver(DATA, "peer 2", "peer 3", 3);

t.test("a volume is held from birth by the peer that took its create, and by nobody else", async (t) => {
  t.match(seen(holds("peer 1", data)), {
    id: DATA,
    name: "data",
    sizeBytes: 1_000,
    zone: ZONE,
    holder: peerId("peer 1"),
    epoch: 1,
    state: "fresh",
    gone: false,
    createdAtMs: NOW,
  });
  t.equal(seen(holds("peer 2", data)), undefined, "another host cannot have it at its first epoch");
  t.equal(desk(data).view.volume(DATA), undefined, "a create without a holding is no volume");
  const elsewhere = makes("data", { at: "liar", id: DATA });
  t.equal(desk(elsewhere, holds("liar", elsewhere)).view.volume(DATA), undefined, "the id names the accepting peer");
  const viewers = makes("data", { by: "vic" });
  t.equal(desk(viewers, holds("peer 1", viewers)).view.volume(idOf("data", "vic")), undefined, "a viewer makes none");
});

t.test("hand-overs: each holder's signature is the next one's warrant", async (t) => {
  const given = holds("peer 1", data, { state: "handed", handed: toTwo });
  t.match(seen(given), { holder: peerId("peer 2"), epoch: 2, state: "fresh" }, "who was handed it has it, before it says so");
  const taken = holds("peer 2", data, { epoch: 2, warrant: [toTwo], state: "mounted" });
  t.match(seen(taken), { holder: peerId("peer 2"), epoch: 2, state: "mounted" }, "and its own record proves it without the giver's");
  t.match(seen(holds("peer 3", data, { epoch: 3, warrant: [toTwo, toThree] }), taken, given), { holder: peerId("peer 3"), epoch: 3, state: "fresh" });
  const bad: Record<string, Holding> = {
    "no warrant": { epoch: 2 },
    "another's signature": { epoch: 2, warrant: [handOver(DATA, "peer 1", "liar", 2, "liar")] },
    "a chain with a hole": { epoch: 3, warrant: [toTwo] },
    "a chain that does not begin at the creator": { epoch: 2, warrant: [handOver(DATA, "peer 3", "liar", 2)] },
    "an epoch that does not follow": { epoch: 2, warrant: [handOver(DATA, "peer 1", "liar", 3)] },
    "another volume's hand-over": { epoch: 2, warrant: [handOver(idOf("other"), "peer 1", "liar", 2)] },
    "a hand-over to somebody else": { epoch: 2, warrant: [toTwo] },
    "an epoch out of reach": { epoch: 2 ** 31 },
    "handed without a hand-over": { state: "handed" },
    "gone without a final frame": { state: "gone", final: false },
    "a final frame that is not gone": { final: true },
    "a state that nobody knows": { state: "mine" },
  };
  for (const [what, holding] of Object.entries(bad))
    t.match(seen(holds("peer 1", data), holds("liar", data, holding)), { holder: peerId("peer 1"), epoch: 1 }, what);
  const twice = holds("peer 1", data, { state: "handed", handed: handOver(DATA, "peer 1", "liar", 2) });
  const lower = [peerId("peer 2"), peerId("liar")].sort()[0];
  t.match(seen(twice, taken), { holder: lower, epoch: 2 }, "handed to two by a liar: the lower has it, on every host");
});

t.test("deleted: by its holder's word, which no former one has; by a user's once the holder was removed", async (t) => {
  const gone = holds("peer 1", data, { state: "gone" });
  t.match(seen(gone), { gone: true });
  t.same(desk(data, gone).view.volumesByName("data"), []);
  const taken = holds("peer 2", data, { epoch: 2, warrant: [toTwo], state: "mounted" });
  t.match(seen(gone, taken), { gone: false, holder: peerId("peer 2") }, "who gave it away cannot delete it");
  t.match(seen(holds("peer 1", data), deletes(DATA)), { gone: false }, "a user's delete needs the holder");
  const removed = removes("peer 1");
  t.match(seen(holds("peer 1", data, { state: "mounted" }), removed), { state: "lost", gone: false });
  t.match(seen(holds("peer 1", data), removed, deletes(DATA)), { state: "lost", gone: true });
  for (const [what, record] of Object.entries({
    "a viewer's": deletes(DATA, { by: "vic" }),
    "one that names another": deletes(DATA, { names: idOf("other") }),
    "another call": deletes(DATA, { call: "Remove" }),
  }))
    t.match(seen(holds("peer 1", data), removed, record), { gone: false }, what);
  t.match(seen(gone, removed), { gone: true }, "what was gone before its host went stays gone");
  t.match(seen(holds("peer 1", data), revokes("ann", {}, "root", 1_000)), { gone: false, holder: peerId("peer 1") }, "revoking a key deletes nothing");
});

t.test("users: containers that name it and are not gone, ended ones too", async (t) => {
  const web = creates("web", { spec: { volumes: [{ volume: DATA, path: "/data" }], removeWhenEnded: true } });
  const id = web.key.split("/").at(-1) as never;
  const { view } = desk(data, holds("peer 1", data), web, claims("peer 1", web), says("peer 1", id, "ended"));
  t.same(
    view.usersOf(DATA).map(({ name }) => name),
    ["web"],
  );
  t.equal(view.usedBy(peerId("peer 1")).diskBytes, 10 + 1_000, "it counts as soon as it is used");
  t.equal(desk(data, holds("peer 1", data)).view.usedBy(peerId("peer 1")).diskBytes, 0, "never used, it takes no room");
  t.equal(desk(data, holds("peer 1", data, { state: "mounted" })).view.usedBy(peerId("peer 1")).diskBytes, 1_000);
  t.same(desk(data, web, claims("peer 1", web), says("peer 1", id, "gone")).view.usersOf(DATA), []);
});

t.test("a token finds what it made, at whichever peer; names; what asking around gives", async (t) => {
  const there = makes("data", { at: "peer 2" });
  const { view } = desk(there, holds("peer 2", there), data, holds("peer 1", data));
  t.equal(view.volumesByName("data").length, 2, "made twice in a cut, both live");
  t.equal(desk(there, holds("peer 2", there)).view.volumeOfToken(keyId("ann"), "token of data")?.id, idOf("data", "ann", "peer 2"));
  t.equal(view.volumeOfToken(keyId("adam"), "token of data"), undefined);
  t.equal(view.recordsOf([DATA]).length, 2);
  t.notOk(view.isVoid(data) || view.isVoid(holds("peer 1", data)));
  t.ok(view.isVoid(holds("liar", data)), "a holding without a warrant counts for nobody");
});

t.test("any order of the same records gives the same", async () => {
  const records = [
    data,
    holds("peer 1", data),
    holds("peer 1", data, { state: "handed", handed: toTwo, minor: 40 }),
    holds("peer 2", data, { epoch: 2, warrant: [toTwo] }),
    holds("liar", data, { epoch: 2, warrant: [handOver(DATA, "peer 1", "liar", 2, "liar")] }),
    deletes(DATA),
  ];
  const whole = desk(...records).view.volume(DATA);
  fc.assert(
    fc.property(fc.shuffledSubarray(records, { minLength: records.length }), (shuffled) => {
      const one = desk();
      for (const record of shuffled) one.take(record);
      const found = one.view.volume(DATA);
      return found?.holder === whole?.holder && found?.epoch === whole?.epoch && found?.state === whole?.state && found?.gone === whole?.gone;
    }),
    { numRuns: 60 },
  );
});
