import fc from "fast-check";
import t from "tap";
import { resolveUser } from "../../../src/containers/index.ts";

const PASSWD = "root:x:0:0:root:/root:/bin/sh\n# note\nbroken line\nalice:x:1000:1001:A:/home/alice:/bin/sh\nnohome:x:5:5:::\n7:x:70:71::/seven:\n";
const GROUP = "root:x:0:\nwheel:x:10:alice,bob\nbig:x:99999:alice\nwww:x:33:\n";
const resolve = (text: string) => resolveUser(text, PASSWD, GROUP, 65_536);

t.test("users as Docker resolves them", async (t) => {
  t.match(resolve(""), { ok: true, value: { uid: 0, gid: 0, home: "/root" } });
  t.same(
    resolve("alice"),
    { ok: true, value: { uid: 1000, gid: 1001, additionalGids: [10], home: "/home/alice" } },
    "with groups, but those that the namespace lacks",
  );
  t.match(resolve("1000"), { ok: true, value: { uid: 1000, gid: 1001, additionalGids: [10] } }, "a number that is in the file is that user");
  t.match(resolve("4242"), { ok: true, value: { uid: 4242, gid: 0, additionalGids: [], home: "/" } }, "a number need not be in the file");
  t.match(resolve("alice:www"), { ok: true, value: { uid: 1000, gid: 33, additionalGids: [] } });
  t.match(resolve("4242:77"), { ok: true, value: { uid: 4242, gid: 77 } });
  t.match(resolve("7"), { ok: true, value: { uid: 70, gid: 71 } }, "a name of digits is a name first");
  t.match(resolve("nohome"), { ok: true, value: { home: "/" } });
  t.match(resolveUser("", "", "", 65_536), { ok: true, value: { uid: 0, gid: 0, home: "/" } }, "images without /etc");
});

t.test("who cannot be", async (t) => {
  t.match(resolve("bob"), { ok: false, code: "BAD_REQUEST", message: /knows no user "bob"/ });
  t.match(resolve("alice:nogroup"), { ok: false, message: /knows no group "nogroup"/ });
  t.match(resolve("65536"), { ok: false, message: /outside the ids/ });
  t.match(resolve("0:70000"), { ok: false, message: /outside the ids/ });
});

t.test("hostile files give a user in range or a refusal", async (t) => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.constantFrom("root", "0", "a:b", "x"), (passwd, group, text) => {
      const result = resolveUser(text, passwd, group, 1000);
      return (
        !result.ok ||
        (result.value.uid < 1000 && result.value.gid < 1000 && result.value.additionalGids.every((gid) => gid < 1000) && result.value.home.startsWith("/"))
      );
    }),
  );
  t.pass("no throw");
});
