import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { decodeInvite, formatRecoveryKey, formatSecretKey, parseAccessToken, parseSecretKey } from "../../../src/identity/index.ts";
import { keyId, keyPair, MESH, peerId, ROOT } from "../identity/fixtures.ts";
import { installCc } from "./run-cc.ts";
import { type Handler, SETTINGS, startTestPeer } from "./test-peer.ts";

const C1 = "caaaaaaaaaaaaaaaaaaaa";
const C2 = "cbbbbbbbbbbbbbbbbbbbb";
const NOW = 1_800_000_000_000;
t.setTimeout(180_000);
const { cc, folder, remove } = await installCc();
t.teardown(remove);

const NAMES: Record<string, string> = { web: C1, db: C2, attic: peerId("peer 2"), laptop: keyId("ann") };
const resolve: Handler = (request) => {
  const names = request["names"] as string[];
  return {
    ids: names.map((name) => NAMES[name] ?? ""),
    errors: names.flatMap((name) =>
      name === "twice"
        ? [{ item: "twice", code: "NAME_AMBIGUOUS", message: "twice is the name of two containers: c1, c2" }]
        : NAMES[name] === undefined
          ? [{ item: name, code: "NOT_FOUND", message: "unknown" }]
          : [],
    ),
    notAsked: names.includes("lost") ? ["cellar"] : [],
  };
};
const change: Handler = (request) => ({
  done: request["containers"] as string[],
  copies: 2,
  wrote: [{ key: `user/attic/wanted/${C1}`, versionMajor: NOW, versionMinor: 1, host: peerId("peer 2") }],
});
const one = async (call: string, handler: Handler) => {
  const peer = await startTestPeer({ calls: { [call]: handler, Resolve: resolve } });
  t.teardown(() => peer.stop());
  return peer;
};

t.test("host list, invite, remove", async (t) => {
  const list = await one("ListHosts", () => ({
    hosts: [
      {
        id: peerId("peer 2"),
        name: "attic",
        zone: "attic",
        state: "alive",
        sinceMs: Date.now() - 65_000,
        seenBy: [peerId("peer 1")],
        version: "0.1.0",
        capacity: { memoryBytes: 4 * 2 ** 30, cpuShares: 2048 },
        used: { memoryBytes: 2 ** 30, cpuShares: 512 },
        self: true,
        encrypted: "partly",
        outsideNote: "the router has no room for another mapping",
      },
      { id: peerId("peer 1"), name: "cellar", outside: true, state: "unreachable", clockOffsetMs: -6_500, clockWarning: true, encrypted: "cut off" },
    ],
  }));
  const table = await cc(["host", "list"], { peers: [list] });
  t.equal(table.code, 0);
  t.match(table.stdout, /attic \* +attic +alive +1m +no +cellar +0\.5 \/ 2 +1 GiB \/ 4 GiB/);
  t.match(table.stdout, /^cellar .* unreachable .* yes /m);
  t.match(table.stderr, /attic is not reached through its router: the router has no room for another mapping/);
  t.match(table.stderr, /the clock of cellar is -6\.5s off/);
  t.match(table.stdout, /ENCRYPTED[\s\S]* partly /);
  t.match(table.stderr, /not encrypted where a host has no WireGuard/);
  t.match(table.stderr, /encryption is required and cellar cannot have it/);
  t.equal(JSON.parse((await cc(["host", "list", "--json"], { peers: [list] })).stdout).length, 2);

  const inviter = await one("CreateInvite", () => ({
    id: "iaaaaaaaaaaaaaaaaaaaa",
    addresses: ["/ip4/10.0.0.1/tcp/4001"],
    endpoints: ["https://10.0.0.1:8443"],
    copies: 2,
  }));
  const invited = await cc(["host", "invite", "--uses", "3", "--valid-for", "2h"], { peers: [inviter] });
  t.equal(invited.code, 0);
  const invite = decodeInvite(invited.stdout);
  t.match(invite, {
    ok: true,
    value: { meshId: MESH, inviteId: "iaaaaaaaaaaaaaaaaaaaa", zone: "attic", issuer: peerId("peer 2"), endpoints: ["https://10.0.0.1:8443"] },
  });
  const body = inviter.requests[0]?.body;
  t.match(body, { zone: "attic", uses: 3, validForMs: 7_200_000 });
  t.notOk(JSON.stringify(body).includes(invite.ok ? Buffer.from(invite.value.seed).toString("base64url") : "?"), "the secret half stays here");

  const remover = await startTestPeer({
    calls: {
      RemoveHost: () => ({ copies: 2 }),
      Resolve: resolve,
      ListHosts: () => ({ hosts: [{ id: peerId("peer 2"), lastMajor: 7, lastMinor: 19, admitted: [peerId("peer 3")] }] }),
    },
  });
  t.teardown(() => remover.stop());
  t.equal((await cc(["host", "remove", "attic", "--force"], { peers: [remover] })).stdout, "attic\n");
  t.match(remover.requests[2]?.body, {
    host: peerId("peer 2"),
    force: true,
    allCertificates: false,
    certificatesKept: [peerId("peer 3")],
    countsToMajor: 7,
    countsToMinor: 19,
  });
  const unknown = await cc(["host", "remove", "nowhere"], { peers: [remover] });
  t.equal(unknown.code, 1);
  t.match(unknown.stderr, /^Error \[NOT_FOUND\]: no host has the id or name nowhere; cc host list lists them\n$/);
});

t.test("key create, list, revoke", async (t) => {
  const creator = await one("CreateKey", () => ({ copies: 2 }));
  const shown = await cc(["key", "create", "--role", "operator", "--name", "laptop"], { peers: [creator] });
  t.equal(shown.code, 0);
  const token = /^export CC_ACCESS_TOKEN=(\S+)$/m.exec(shown.stdout)?.[1] ?? "";
  const secret = /^export CC_SECRET_KEY=(\S+)$/m.exec(shown.stdout)?.[1] ?? "";
  const signer = parseSecretKey(secret);
  t.ok(signer.ok);
  const publicKey = signer.ok ? Buffer.from(signer.value.publicKey).toString("base64url") : "";
  t.match(creator.requests[0]?.body, { role: "operator", name: "laptop", publicKey });
  t.match(parseAccessToken(token), { ok: true, value: { meshId: MESH } });
  t.notOk(JSON.stringify(creator.requests).includes(secret), "the secret stays here");

  const out = join(folder, "new.key");
  const written = await cc(["key", "create", "--role", "viewer", "--out", out], { peers: [creator] });
  t.equal(written.code, 0);
  t.equal(statSync(out).mode & 0o777, 0o600);
  t.ok(parseSecretKey(readFileSync(out, "utf8")).ok);
  t.match(written.stdout, `CC_SECRET_KEY=@${out}`);
  const again = await cc(["key", "create", "--role", "viewer", "--out", out], { peers: [creator] });
  t.equal(again.code, 1);
  t.match(again.stderr, /is there already; nothing was made/);
  t.equal(creator.requests.length, 2, "and no peer was asked");

  const recovery = join(folder, "recovery.key");
  writeFileSync(recovery, `${formatRecoveryKey(ROOT.seed)}\n`);
  const rescued = await cc(["key", "create", "--role", "admin", "--recovery-key-file", recovery], { env: { CC_ENDPOINT_URL: creator.url } });
  t.equal(rescued.code, 0, "needs no other key");
  t.match(String(creator.requests[2]?.headers["signature-input"]), keyId("root"));

  const list = await one("ListKeys", () => ({
    keys: [
      { id: keyId("boss"), name: "boss", role: "admin", signedBy: keyId("root"), createdAtMs: NOW },
      { id: keyId("ann"), name: "ann", role: "operator", signedBy: keyId("boss"), createdAtMs: NOW, revoked: true, revokedAtMs: NOW },
    ],
  }));
  t.match((await cc(["key", "list"], { peers: [list] })).stdout, /ann +operator +boss +2027-01-15T08:00:00Z +2027-01-15T08:00:00Z/);

  const revoker = await startTestPeer({
    calls: {
      RevokeKey: () => ({ copies: 2, kept: ["admin/-/key/x"] }),
      Resolve: resolve,
      ListKeys: () => ({ keys: [{ id: keyId("ann"), signed: ["admin/-/key/x"] }] }),
    },
  });
  t.teardown(() => revoker.stop());
  const revoked = await cc(["key", "revoke", "laptop"], { peers: [revoker] });
  t.equal(revoked.stdout, "laptop\n");
  t.match(revoked.stderr, /stays: admin\/-\/key\/x/);
  t.match(revoker.requests[2]?.body, { key: keyId("ann"), keepAll: false, keep: ["admin/-/key/x"] });
  await cc(["key", "revoke", keyId("ann"), "--keep", "none"], { peers: [revoker] });
  t.match(revoker.requests.at(-1)?.body, { keepAll: false, keep: [] });
});

t.test("login: accepted by a peer first, then saved for its owner only, behind flags and environment", async (t) => {
  const peer = await startTestPeer({ calls: { WhoAmI: () => ({ key: keyId("ann"), role: "operator", name: "ann", mesh: MESH }), ListContainers: () => ({}) } });
  t.teardown(() => peer.stop());
  const config = join(folder, "config");
  const env = { XDG_CONFIG_HOME: config };
  const secretFile = join(folder, "secret.key");
  writeFileSync(secretFile, `\n  ${SETTINGS.secretKey}  \n`);
  const wrong = await cc(["login"], { peers: [peer], env: { ...env, CC_SECRET_KEY: formatSecretKey(keyPair("eve").seed) } });
  t.equal(wrong.code, 1);
  t.match(wrong.stderr, /^Error \[UNAUTHENTICATED\]/);
  const file = join(config, "container-cloud/context.json");
  t.throws(() => statSync(file), "nothing saved");
  const login = await cc(["login", "--cc-secret-key", `@${secretFile}`], { peers: [peer], env: { ...env, CC_SECRET_KEY: "" } });
  t.equal(login.code, 0);
  t.match(login.stdout, /^logged in as ann \(operator\)/);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(join(config, "container-cloud")).mode & 0o777, 0o700);
  t.equal((await cc(["ps"], { env })).code, 0, "the saved settings do");
  t.match(
    (await cc(["ps"], { env: { ...env, CC_ENDPOINT_URL: "https://127.0.0.1:1" } })).stderr,
    /127.0.0.1:1 cannot be reached/,
    "the environment goes before them",
  );
  t.equal((await cc(["ps", "--cc-endpoint-url", peer.url], { env: { ...env, CC_ENDPOINT_URL: "https://127.0.0.1:1" } })).code, 0, "and a flag before that");
  writeFileSync(file, "{");
  t.match((await cc(["ps"], { env })).stderr, /run cc login again/);
  t.equal((await cc(["login", "--forget"], { env })).code, 0);
  t.throws(() => statSync(file));
});

t.test("sign: a request that the peer accepts, for curl", async (t) => {
  const peer = await startTestPeer({ calls: { Hello: () => ({ peer: peerId("peer 2"), mesh: MESH, timeMs: NOW }), ListContainers: () => ({}), Stop: change } });
  t.teardown(() => peer.stop());
  const signed = await cc(["sign", "--call", "ListContainers", "--body", '{"all":true}', "--json"], { peers: [peer] });
  t.equal(signed.code, 0);
  const { url, headers, body } = JSON.parse(signed.stdout);
  t.match(JSON.parse(body), { all: true, to: { call: "ListContainers", mesh: MESH, peer: peerId("peer 2") } });
  t.equal(url, `${peer.url}/cc.v1.Cloud/ListContainers`);
  t.match(headers, { "content-digest": /^sha-256=:/, "signature-input": /^cc=\("content-digest"\);created=/, signature: /^cc=:/ });
  const text = (await cc(["sign", "--call", "Stop", "--body", "-"], { peers: [peer], input: `{"containers":["${C1}"]}` })).stdout;
  t.match(text, /^url = "https.*\/Stop"\n/);
  t.match(text, /data-binary = "\{\\"token\\":\\"/);
  t.equal((await cc(["sign", "--call", "Stop", "--body", "[]"], { peers: [peer] })).code, 2);
});

t.test("a failure under --json is one document too", async (t) => {
  const peer = await one("ListContainers", () => new CcError("FORBIDDEN", "your key may not;\nask an admin", { details: { role: "viewer" } }));
  const outcome = await cc(["ps", "--json"], { peers: [peer] });
  t.equal(outcome.code, 1);
  t.same(JSON.parse(outcome.stdout), { error: { code: "FORBIDDEN", message: "your key may not;\nask an admin", details: { role: "viewer" } } });
  t.equal(outcome.stderr, "Error [FORBIDDEN]: your key may not;; ask an admin\n");
});
