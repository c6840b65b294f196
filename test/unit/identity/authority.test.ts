import fc from "fast-check";
import t from "tap";
import {
  type Authority,
  computeAuthority,
  ed25519Verifier,
  effectiveStamps,
  mayRevoke,
  type Role,
  type SignedRequest,
  type StampedRecord,
  type Verifier,
} from "../../../src/identity/index.ts";
import { grant, invitation, keyId, PEER, peerId, ROOT, record, request, type SignOptions } from "./fixtures.ts";
import { plainStates } from "./plain-states.ts";

const authorityOf = (records: readonly StampedRecord[], verifier: Verifier = ed25519Verifier): Authority =>
  computeAuthority({ rootPublicKey: ROOT.signer.publicKey, records, verifier });
const state = (authority: Authority, name: string) => authority.keys.get(keyId(name))?.state;
const revoke = (name: string, fields: object = {}, options: SignOptions = {}): SignedRequest =>
  request("RevokeKey", { token: `revoke ${name}`, key: keyId(name), ...fields }, options);
const remove = (name: string, fields: object = {}, options: SignOptions = {}): SignedRequest =>
  request("RemoveHost", { token: `remove ${name}`, host: peerId(name), ...fields }, options);

t.test("keys down from the root, each with its role, name and signer", async (t) => {
  const authority = authorityOf([
    record(grant("ann", "admin")),
    record(grant("bob", "operator", { by: "ann" })),
    record(grant("vic", "viewer", { by: "ann" })),
  ]);
  t.match(authority.keys.get(keyId("bob")), { role: "operator", name: "bob", signedBy: keyId("ann"), state: "live", isRoot: false, endedAtMs: undefined });
  t.match(authority.keys.get(authority.rootKeyId), { role: "admin", isRoot: true, state: "live" });
  t.equal(authority.keys.size, 4);
  t.equal(authority.voided.size, 0);
});

t.test("what nobody who may has signed is void", async (t) => {
  const records = {
    "by a stranger": record(grant("bob", "admin", { by: "eve" })),
    "by an operator": record(grant("bob", "admin", { by: "oto" })),
    "of another mesh": record(grant("bob", "admin", { mesh: "m".repeat(32) })),
    "stamped by a peer that it does not address": record(grant("bob", "admin"), { writer: peerId("liar") }),
    "stamped too late": record(grant("bob", "admin"), { atMs: 5 * 60_000 + 1 }),
    "with another's signature": record({ ...grant("bob", "admin"), signature: grant("carl", "admin").signature }),
    "under another's record key": { ...record(grant("bob", "admin")), key: record(grant("ann", "admin")).key },
  };
  for (const [name, bad] of Object.entries(records)) {
    const authority = authorityOf([record(grant("oto", "operator")), bad]);
    t.equal(state(authority, "bob"), undefined, name);
    t.ok(authority.voided.has(bad.key), name);
  }
});

t.test("a rubbish stamp beside the genuine one hides nothing", async (t) => {
  const good = record(grant("bob", "admin"), { atMs: 1000 });
  const rubbish = {
    ...good,
    request: { ...good.request, signature: grant("x", "admin").signature },
    stamp: { ...good.stamp, timeMs: good.stamp.timeMs - 900 },
  };
  t.equal(state(authorityOf([rubbish, good]), "bob"), "live");
});

t.test("back-door: what revoked Eve signs at a cut peer, and what is signed with that, is void; what the list names stays", async (t) => {
  const carl = record(grant("carl", "admin", { by: "eve" }));
  const base = [record(grant("ann", "admin")), record(grant("eve", "admin", { by: "ann" })), carl, record(grant("dora", "operator", { by: "carl" }))];
  const revocation = record(revoke("eve", { keep: [carl.key] }, { by: "ann" }), { atMs: 60_000 });
  const mallory = record(grant("mallory", "admin", { by: "eve" }), { atMs: 1_000 });
  const backDoor = [
    mallory,
    record(grant("mole", "admin", { by: "mallory" })),
    record(invitation("spy", {}, { by: "mallory" })),
    record(remove("k", {}, { by: "mole" })),
    record(revoke("dora", {}, { by: "mallory" })),
  ];
  const before = authorityOf([...base, ...backDoor]);
  t.equal(state(before, "mole"), "live");
  t.equal(before.invites.size, 1);
  const after = authorityOf([...base, ...backDoor, revocation]);
  t.equal(state(after, "eve"), "revoked");
  t.equal(state(after, "carl"), "live", "listed");
  t.equal(state(after, "dora"), "live", "below a listed one");
  t.equal(state(after, "mallory"), "void", "stamped before, not listed");
  t.equal(state(after, "mole"), "void");
  t.equal(after.invites.size, 0);
  t.equal(after.removals.size, 0);
  for (const { key } of backDoor) t.ok(after.voided.has(key));
});

t.test("'all known': what was stamped before the revocation stays, nothing after", async (t) => {
  const records = [
    record(grant("eve", "admin")),
    record(grant("carl", "admin", { by: "eve" }), { atMs: 59_999 }),
    record(grant("late", "admin", { by: "eve" }), { atMs: 60_000 }),
    record(revoke("eve", { keepAll: true }), { atMs: 60_000 }),
  ];
  const authority = authorityOf(records);
  t.equal(state(authority, "carl"), "live");
  t.equal(state(authority, "late"), "void");
});

t.test("mutual-removal: two admins who revoke each other both stay, also if one vouches for the other first", async (t) => {
  const base = [record(grant("ann", "admin")), record(grant("bob", "admin"))];
  const mutual = [record(revoke("bob", {}, { by: "ann" })), record(revoke("ann", {}, { by: "bob" }))];
  const vouched = [record(grant("bob", "admin", { by: "ann" })), record(grant("ann", "admin", { by: "bob" }))];
  for (const records of [
    [...base, ...mutual],
    [...base, ...vouched, ...mutual],
  ]) {
    const authority = authorityOf(records);
    t.equal(state(authority, "ann"), "live");
    t.equal(state(authority, "bob"), "live");
  }
  const authority = authorityOf(base);
  t.notOk(mayRevoke(authority, keyId("ann"), keyId("bob")), "so the API says no beforehand");
  t.ok(mayRevoke(authority, keyId("ann"), keyId("ann")));
  t.ok(mayRevoke(authority, authority.rootKeyId, keyId("ann")));
  t.notOk(mayRevoke(authority, authority.rootKeyId, authority.rootKeyId), "a mesh keeps its root");
});

t.test("a key is revoked by itself, by one above it, by the root; not by one below, by none that was ended, not to be undone by vouching", async (t) => {
  const base = [record(grant("ann", "admin")), record(grant("bob", "admin", { by: "ann" })), record(grant("oto", "operator", { by: "bob" }))];
  const own = authorityOf([...base, record(revoke("oto", {}, { by: "oto" }))]);
  t.equal(state(own, "oto"), "revoked", "an operator, by itself");
  t.equal(own.voided.size, 0);
  t.equal(state(authorityOf([...base, record(revoke("oto", {}, { by: "ann" }))]), "oto"), "revoked", "from two above");
  t.equal(state(authorityOf([...base, record(revoke("oto"))]), "oto"), "revoked", "the root");
  t.equal(state(authorityOf([...base, record(revoke("ann", {}, { by: "bob" }))]), "ann"), "live", "not from below");
  t.equal(state(authorityOf([...base, record(revoke("ann", {}, { by: "oto" }))]), "ann"), "live");
  const cut = [record(revoke("bob", { keep: [base[2]?.key] }, { by: "ann" })), record(revoke("oto", {}, { by: "bob" }))];
  t.equal(state(authorityOf([...base, ...cut]), "oto"), "live", "bob was ended, his revocation is not on the list");
  const undone = [record(revoke("bob")), record(grant("bob", "admin", { by: "ann" }), { atMs: 200_000 }), record(grant("bob", "admin"), { atMs: 200_000 })];
  t.equal(state(authorityOf([...base, ...undone]), "bob"), "revoked", "final");
});

t.test("whoever stole a revoked key can't void with it what the revocation keeps", async (t) => {
  const carl = record(grant("carl", "admin", { by: "eve" }));
  const base = [record(grant("eve", "admin")), carl];
  const thief = record(revoke("eve", {}, { by: "eve" }), { atMs: -60_000 });
  t.equal(state(authorityOf([...base, thief, record(revoke("eve", { keep: [carl.key] }))]), "carl"), "live", "the root's word is above the key's own");
  const own = record(revoke("eve", { keep: [carl.key] }, { by: "eve" }), { atMs: 1_000 });
  t.equal(
    state(authorityOf([...base, own, record(revoke("eve", {}, { by: "eve" }), { atMs: 2_000 })]), "carl"),
    "live",
    "of the key's own words the first counts",
  );
});

t.test("several admins vouch for one key: it ends when all ways to it have", async (t) => {
  const base = [
    record(grant("ann", "admin")),
    record(grant("bob", "admin")),
    record(grant("carl", "operator", { by: "ann" })),
    record(grant("carl", "viewer", { by: "bob" })),
  ];
  t.match(authorityOf(base).keys.get(keyId("carl")), { role: "operator", signedBy: keyId("ann") });
  t.match(authorityOf([...base, record(revoke("carl", {}, { by: "ann" }))]).keys.get(keyId("carl")), { role: "viewer", state: "live", signedBy: keyId("bob") });
  t.equal(state(authorityOf([...base, record(revoke("carl", {}, { by: "ann" })), record(revoke("carl", {}, { by: "bob" }))]), "carl"), "revoked");
});

t.test("of two removals of a host the first stamped counts", async (t) => {
  const first = record(remove("k", { heir: peerId("x"), countsToMajor: 3, countsToMinor: 9 }), { atMs: 1_000 });
  const second = record(remove("k", { heir: peerId("y") }), { atMs: 2_000 });
  for (const records of [
    [first, second],
    [second, first],
  ])
    t.match(authorityOf(records).removals.get(peerId("k")), { heir: peerId("x"), countsTo: { major: 3, minor: 9 }, stamp: { timeMs: first.stamp.timeMs } });
});

t.test("restamp: of two stamps of one request the lower counts, whatever comes first", async (t) => {
  const stop = request("Stop", { token: "t", containers: ["c1", "c2"] });
  const stamped = (key: string, atMs: number, signed = stop) => ({ key, request: signed, stamp: { writer: PEER, timeMs: atMs, counter: 0 } });
  const start = request("Start", { token: "u", containers: ["c1"] });
  const records = [stamped("user/-/wanted/c1", 10), stamped("user/-/wanted/c2", 10), stamped("user/-/wanted/c1", 20, start), stamped("user/-/wanted/c1", 30)];
  fc.assert(
    fc.property(fc.shuffledSubarray(records, { minLength: 4 }), (shuffled) => {
      t.same(
        effectiveStamps(shuffled).map(({ key, stamp }) => [key, stamp.timeMs]),
        [
          ["user/-/wanted/c1", 10],
          ["user/-/wanted/c2", 10],
          ["user/-/wanted/c1", 20],
        ],
      );
    }),
    { numRuns: 24 },
  );
  t.same(effectiveStamps([{ ...stamped("x", 1), request: { ...stop, signatureInput: "rubbish" } }]), []);
});

const anySigner: Verifier = { verify: () => true };
const NAMES = ["root", "a", "b", "c", "d", "e"];

/** Random grants, revocations (some keep some), invites among few keys. */
const histories = fc
  .array(
    fc.record({
      kind: fc.constantFrom("key", "key", "key", "revoke", "invite"),
      by: fc.nat(5),
      about: fc.integer({ min: 1, max: 5 }),
      role: fc.constantFrom<Role>("admin", "admin", "operator"),
      atMs: fc.nat(200_000),
      keep: fc.array(fc.nat(30), { maxLength: 6 }),
      keepAll: fc.boolean(),
    }),
    { minLength: 1, maxLength: 16 },
  )
  .map((steps) => {
    const records: StampedRecord[] = [];
    for (const { kind, by, about, role, atMs, keep, keepAll } of steps) {
      const options = { by: NAMES[by] ?? "root", unsigned: true };
      const name = NAMES[about] ?? "a";
      const kept = keep.map((at) => records[at % Math.max(1, records.length)]?.key).filter((key) => key !== undefined);
      records.push(
        record(
          kind === "key"
            ? grant(name, role, options)
            : kind === "invite"
              ? invitation(name, {}, options)
              : revoke(name, { keep: kept, keepAll: keepAll && kept.length === 0 }, options),
          { atMs },
        ),
      );
    }
    return records;
  });

const shown = (authority: Authority) => ({
  keys: [...authority.keys].sort(),
  invites: [...authority.invites.keys()].sort(),
  standing: [...authority.standing].sort(),
  voided: [...authority.voided].sort(),
});

t.test("property: the same set gives the same authority in any order, records twice or not", async () => {
  fc.assert(
    fc.property(
      histories.chain((records) => fc.tuple(fc.constant(records), fc.shuffledSubarray(records, { minLength: records.length }), fc.shuffledSubarray(records))),
      ([records, shuffled, again]) => {
        const [one, other] = [shown(authorityOf(records, anySigner)), shown(authorityOf([...again, ...shuffled], anySigner))];
        return JSON.stringify(one) === JSON.stringify(other);
      },
    ),
    { numRuns: 150 },
  );
});

t.test("property: the definition, said once more in the plainest way, gives the same", async (t) => {
  let live = 0;
  let revoked = 0;
  fc.assert(
    fc.property(histories, (records) => {
      const authority = authorityOf(records, anySigner);
      const plain = plainStates(records);
      for (const name of NAMES.slice(1)) {
        const found = state(authority, name) ?? "none";
        if (found === "live") live += 1;
        if (found === "revoked") revoked += 1;
        if (found !== (plain.get(keyId(name)) ?? "none")) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.ok(live > 100 && revoked > 20, `${live} live and ${revoked} revoked keys were compared`);
});

t.test("admins who all vouch for one another cost bounded work", async (t) => {
  const names = [...new Array(24).keys()].map((at) => `ring ${at}`);
  const records = names.flatMap((by) => names.filter((name) => name !== by).map((name) => record(grant(name, "admin", { by, unsigned: true }))));
  const before = performance.now();
  const authority = authorityOf([record(grant("ring 0", "admin", { unsigned: true })), ...records], anySigner);
  t.equal(authority.keys.size, names.length + 1);
  t.ok(performance.now() - before < 5_000, `${Math.round(performance.now() - before)} ms`);
});
