import fc from "fast-check";
import t from "tap";
import type { Zone } from "../../../src/base/index.ts";
import { decodeInvite, encodeInvite, INVITE_ADDRESSES_MAX, type Invite, inviteIdOf } from "../../../src/identity/index.ts";
import { keyId, keyPair, MESH, PEER, value } from "./fixtures.ts";

const invite: Invite = {
  meshId: MESH,
  inviteId: inviteIdOf(keyId("ann"), "token"),
  zone: "attic" as Zone,
  seed: keyPair("invite").seed,
  issuer: PEER,
  endpoints: ["https://10.0.0.1:7443", "https://[fd00::1]:7443"],
  addresses: ["/ip4/10.0.0.1/tcp/7444"],
  expiresAtMs: 1_800_000_000_000,
};
const changed = (fields: object): string =>
  `cci_${Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(encodeInvite(invite).slice(4), "base64url").toString()), ...fields })).toString("base64url")}`;

t.test("one line there and back, line breaks of a terminal forgiven", async (t) => {
  t.same(value(decodeInvite(encodeInvite(invite))), invite);
  t.same(value(decodeInvite(` ${encodeInvite(invite).replaceAll(/(.{72})/g, "$1\n  ")}\n`)), invite);
  t.equal(value(decodeInvite(encodeInvite({ ...invite, addresses: new Array(99).fill("/ip4/10.0.0.1/tcp/1") }))).addresses.length, INVITE_ADDRESSES_MAX);
});

t.test("what is broken is refused without repeating it", async (t) => {
  const text = encodeInvite(invite);
  const others = [
    "",
    "cci_",
    text.slice(0, -1),
    text.slice(4),
    `cci_${"A".repeat(20_000)}`,
    changed({ v: 0 }),
    changed({ mesh: "x" }),
    changed({ id: "x" }),
    changed({ zone: "Attic" }),
    changed({ key: "AA" }),
    changed({ issuer: "x" }),
    changed({ endpoints: ["http://10.0.0.1"] }),
    changed({ endpoints: ["https://"] }),
    changed({ endpoints: "https://a" }),
    changed({ addresses: [1] }),
    changed({ addresses: ["a".repeat(300)] }),
    changed({ until: -1 }),
    changed({ until: "1" }),
  ];
  for (const other of others) {
    const refused = decodeInvite(other);
    t.match(refused, { ok: false, code: "INVITE_INVALID" }, other.slice(0, 60));
    t.notMatch(JSON.stringify(refused), Buffer.from(invite.seed).toString("base64url").slice(4, 12));
  }
  t.match(decodeInvite(changed({ v: 2 })), { ok: false, message: /newer version/ });
});

t.test("fuzz: any text is decoded or refused", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json().map((json) => `cci_${Buffer.from(json).toString("base64url")}`),
        fc.dictionary(fc.constantFrom("v", "mesh", "id", "zone", "key", "issuer", "endpoints", "addresses", "until"), fc.jsonValue()).map(changed),
      ),
      (text) => {
        const result = decodeInvite(text);
        return !result.ok || encodeInvite(result.value).startsWith("cci_");
      },
    ),
  );
});
