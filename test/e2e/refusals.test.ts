import { createHash, createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { eventually, type Outcome, programPath, withLab } from "./lab.ts";

type Host = { readonly id: string; readonly name: string };
const HOSTS = [1, 2, 3];
const ANSWER_MS_MAX = 5_000;
/** With a registry's own time limit. */
const REGISTRY_MS_MAX = 20_000;

withLab("refusals: a clear line, in time, and nothing left behind", { hosts: 3, zones: "a,a,b", memory: "2g" }, async (t, lab) => {
  const image = await lab.image();
  const late: string[] = [];
  const refused = async (words: readonly string[], options: Parameters<typeof lab.cc>[1] = {}, msMax = ANSWER_MS_MAX): Promise<Outcome & { ms: number }> => {
    const startedMs = performance.now();
    const outcome = { ...(await lab.cc(words, options)), ms: performance.now() - startedMs };
    if (outcome.ms > msMax) late.push(`${words.join(" ")}: ${Math.round(outcome.ms)} ms`);
    return outcome;
  };

  for (const host of HOSTS) {
    await t.test(`through host ${host}`, async (t) => {
      const cases: readonly [string, readonly string[], number, RegExp][] = [
        ["unknown id", ["status", "caaaaaaaaaaaaaaaaaaaa"], 1, /NOT_FOUND.*there is no container/],
        ["unknown name", ["logs", "nobody"], 1, /NOT_FOUND/],
        ["unknown to stop", ["stop", "nobody"], 1, /NOT_FOUND/],
        ["unknown to exec", ["exec", "nobody", "true"], 125, /NOT_FOUND/],
        ["unknown id to exec", ["exec", "caaaaaaaaaaaaaaaaaaaa", "true"], 125, /NOT_FOUND/],
        ["nothing to exec", ["exec", "nobody"], 2, /command .* is missing/],
        ["unknown to inspect", ["inspect", "nobody"], 1, /NOT_FOUND/],
        ["unknown to wait for", ["wait", "nobody"], 1, /NOT_FOUND/],
        ["bad size", ["run", "--image", image, "--memory", "lots", "true"], 2, /lots/],
        ["size out of range", ["run", "--image", image, "--memory", "1k", "true"], 2, /BAD_USAGE.*too small/],
        ["no room anywhere", ["run", "--image", image, "--memory", "500g", "true"], 125, /NO_ROOM(?=.*h1: )(?=.*h2: )(?=.*h3: )/s],
        ["image not found", ["run", "--image", `${image.split("/")[0]}/no/such:1`, "true"], 125, /IMAGE_NOT_FOUND/],
        ["not an image", ["run", "--image", "UPPER CASE", "true"], 2, /UPPER CASE.*not an image/],
        ["no such host", ["run", "--image", image, "--host", "nowhere", "true"], 125, /NOT_FOUND.*nowhere/],
        ["no such zone", ["run", "--image", image, "--zone", "mars", "true"], 125, /mars/],
        ["no image", ["run", "true"], 2, /image/],
        ["no such user", ["run", "--rm", "--image", image, "--user", "zaphod", "true"], 125, /zaphod/],
        ["bad name", ["run", "--image", image, "--name", "Not_A_Name", "true"], 2, /Not_A_Name/],
      ];
      for (const [what, words, code, text] of cases) {
        const outcome = await refused(words, { host });
        t.equal(outcome.code, code, `${what}: ${outcome.stderr}`);
        t.match(outcome.stderr, text, what);
        t.ok(outcome.ms < ANSWER_MS_MAX, `${what}: answered in ${Math.round(outcome.ms)} ms`);
      }
      t.equal((await lab.cc(["rm", "nobody", "caaaaaaaaaaaaaaaaaaaa"], { host })).code, 0, "what never was is removed already");
    });
  }

  await t.test("a name used twice", async (t) => {
    t.equal((await lab.cc(["run", "--detach", "--name", "one", "--image", image, "--", "sleep", "1000"], { host: 1 })).code, 0);
    const second = await refused(["run", "--detach", "--name", "one", "--image", image, "--", "sleep", "1000"], { host: 2 });
    t.equal(second.code, 125);
    t.match(second.stderr, /NAME_TAKEN/);
    const both = await Promise.all(HOSTS.map((host) => lab.cc(["run", "--detach", "--name", "at-once", "--image", image, "--", "sleep", "1000"], { host })));
    t.equal(both.filter(({ code }) => code === 0).length, 1, `of three at once one wins: ${both.map(({ stderr }) => stderr).join("")}`);
    t.equal((await lab.cc(["rm", "--force", "one", "at-once"])).code, 0);
  });

  await t.test("a registry that wants a password, and one that is gone", async (t) => {
    const secret = await lab.image("secret", "--with-password");
    const run = (...words: string[]) => refused(["run", "--rm", "--registry-user", "lab", ...words, "--image", secret, "echo", "in"], { host: 2 });
    for (const host of HOSTS) {
      const wrong = await refused(["run", "--host", `h${host}`, "--registry-user", "lab", "--registry-password", "guess", "--image", secret, "true"]);
      t.match(wrong, { code: 125, stderr: /IMAGE_DENIED.*password/ }, `host ${host}`);
    }
    t.match(await run("--registry-password", "lab"), { code: 0, stdout: "in\n" });
    await lab.must("registry", "stop");
    try {
      const gone = await refused(["run", "--image", `${image.split("/")[0]}/other:1`, "true"], { host: 3 }, REGISTRY_MS_MAX);
      t.match(gone, { code: 125, stderr: /REGISTRY_UNREACHABLE/ });
      t.ok(gone.ms < REGISTRY_MS_MAX, `answered in ${Math.round(gone.ms)} ms`);
    } finally {
      await lab.must("registry", "start");
    }
  });

  await t.test("the root's recovery key, where all admin keys are lost", async (t) => {
    const file = `${lab.folder}/admin/recovery-key`;
    const lost = { CC_ACCESS_TOKEN: "", CC_SECRET_KEY: "" };
    const made = await refused(["key", "create", "--role", "admin", "--name", "rescue", "--recovery-key-file", file], { host: 3, env: lost });
    t.equal(made.code, 0, made.stderr);
    const rescue = Object.fromEntries([...made.stdout.matchAll(/(CC_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]));
    for (const host of HOSTS) await eventually(`it is known at host ${host}`, async () => (await lab.cc(["ps"], { host, env: rescue })).code === 0);
    t.match(await refused(["key", "revoke", "admin"], { env: rescue }), { code: 1, stderr: /FORBIDDEN/ }, "it is beside the first admin, not above");
    const below = await refused(["key", "create", "--role", "operator", "--name", "below"], { env: rescue });
    t.equal(below.code, 0, below.stderr);
    const keys = await lab.json<{ id: string; name: string; signed: string[] }[]>(["key", "list"], { env: rescue });
    t.equal(keys.find(({ name }) => name === "rescue")?.signed.length, 1, "what it signed is shown");
    const ended = await refused(["key", "revoke", "rescue"], { env: rescue });
    t.match(ended, { code: 0, stderr: /stays: admin\/-\/key\// }, "a key may end itself, and what it signed is listed");
    for (const host of HOSTS)
      await eventually(`it is refused at host ${host}`, async () => /KEY_REVOKED/.test((await lab.cc(["ps"], { host, env: rescue })).stderr));
    t.equal((await lab.json<{ name: string; revoked: boolean }[]>(["key", "list"])).find(({ name }) => name === "below")?.revoked, false);
  });

  await t.test("who may not", async (t) => {
    const env = await lab.environment(1);
    const wrongSecret = "ccs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    t.match(await refused(["ps"], { env: { CC_SECRET_KEY: wrongSecret } }), { code: 1, stderr: /UNAUTHENTICATED/ }, "a wrong key");
    const otherMesh = `${env["CC_ACCESS_TOKEN"]?.split(".")[0]}.${"a".repeat(32)}`;
    t.match(await refused(["ps"], { env: { CC_ACCESS_TOKEN: otherMesh } }), { code: 1, stderr: /WRONG_MESH/ }, "another mesh's token");
    t.match(await refused(["ps"], { env: { CC_ENDPOINT_URL: "https://127.0.0.1:9" } }), { code: 1, stderr: /PEER_UNREACHABLE/ }, "nobody there");
    const dead = `https://127.0.0.1:9,${env["CC_ENDPOINT_URL"]}`;
    t.equal((await refused(["ps"], { env: { CC_ENDPOINT_URL: dead } })).code, 0, "the next endpoint is asked");
  });

  await t.test("a request that was made before, or changed on the way", async (t) => {
    const env = await lab.environment(2);
    const signed = await lab.json<{ url: string; headers: Record<string, string>; body: string }>(["sign", "--call", "ListHosts"], { host: 2 });
    const first = await post(signed.url, signed.headers, signed.body);
    t.equal(first.status, 200, first.body);
    const again = await post(signed.url, signed.headers, signed.body);
    t.equal(again.status, 401);
    t.equal(again.code, "REPLAYED");
    const changed = await lab.json<{ url: string; headers: Record<string, string>; body: string }>(["sign", "--call", "ListHosts"], { host: 2 });
    t.equal((await post(changed.url, changed.headers, changed.body.replace("ListHosts", "ListHostz"))).status, 401, "a changed body");
    const elsewhere = await lab.json<{ url: string; headers: Record<string, string>; body: string }>(["sign", "--call", "ListHosts"], { host: 2 });
    const other = (await lab.environment(3))["CC_ENDPOINT_URL"] ?? "";
    const played = await post(`${other}/cc.v1.Cloud/ListHosts`, elsewhere.headers, elsewhere.body);
    t.equal(played.code, "WRONG_PEER", "played to another peer than it addresses");
    t.equal((await post(`${other}/cc.v1.Cloud/ListHosts`, {}, "{}")).code, "UNAUTHENTICATED", "not signed at all");

    const slow = await refused(["ps"], { host: 2, env: { NODE_OPTIONS: "--import=data:text/javascript,const%20now=Date.now;Date.now=()=>now()-1200000" } });
    t.match(slow, { code: 0, stderr: /clock is 1200 s behind/ }, "cc signs once more with the peer's time, and warns");
    const hello = await post(`${env["CC_ENDPOINT_URL"]}/cc.v1.Cloud/Hello`, {}, "{}");
    const { peer, mesh } = JSON.parse(hello.body);
    const skewed = await post(
      `${env["CC_ENDPOINT_URL"]}/cc.v1.Cloud/ListHosts`,
      ...signedAt(Date.now() - 20 * 60_000, env, { to: { call: "ListHosts", mesh, peer } }),
    );
    t.equal(skewed.code, "CLOCK_SKEW", "a laptop's clock 20 minutes off is told the peer's time");
    t.ok(Math.abs(Number(skewed.details["timeMs"]) - Date.now()) < 60_000);
  });

  await t.test("a request signed by a clock that is fast, played back after its peer was killed", async (t) => {
    const fast = { NODE_OPTIONS: "--import=data:text/javascript,const%20now=Date.now;Date.now=()=>now()+200000" };
    const signed = await lab.json<{ url: string; headers: Record<string, string>; body: string }>(["sign", "--call", "ListHosts"], { host: 2, env: fast });
    t.equal((await post(signed.url, signed.headers, signed.body)).status, 200);
    await lab.run("exec", "2", "--", "kill", "-9", String(await lab.peerPid(2)));
    await lab.must("restart", "2");
    await eventually("it answers again", async () => (await lab.cc(["ps"], { host: 2 })).code === 0, 30_000);
    t.equal((await post(signed.url, signed.headers, signed.body)).code, "REPLAYED");
    await eventually("all reach it", async () => (await lab.json<{ state: string }[]>(["host", "list"])).every(({ state }) => state === "alive"), 30_000);
  });

  await t.test("invites", async (t) => {
    const invite = async (...words: string[]): Promise<string> => (await lab.cc(["host", "invite", "--zone", "a", ...words])).stdout.trim();
    const join = (text: string, name: string) =>
      lab.on(
        1,
        programPath("cc-peer"),
        "join",
        text,
        "--name",
        name,
        "--data-dir",
        `${lab.folder}/join-${name}`,
        "--run-dir",
        `${lab.folder}/join-${name}/run`,
      );
    const one = await invite("--uses", "1");
    t.match(await join(one, "extra-1"), { code: 0, stderr: "" }, "the first use");
    t.match(await join(one, "extra-2"), { code: 1, stderr: /INVITE_USED_UP/ }, "once too often");
    const short = await invite("--valid-for", "1s");
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    t.match(await join(short, "extra-3"), { code: 1, stderr: /INVITE_EXPIRED/ });
    t.match(await join("cci_rubbish", "extra-4"), { code: 1, stderr: /INVITE_INVALID/ });
    t.match(
      await join("@/no/such/file", "extra-5"),
      { code: 2, stderr: /^Error \[BAD_USAGE\]: the invite is to be read from [^\n]+\n$/ },
      "one line, without a stack",
    );
  });

  await t.test("a removed host", async (t) => {
    const hosts = await lab.json<Host[]>(["host", "list"]);
    const third = hosts.find((host) => host.name === "h3");
    t.ok(third);
    t.equal((await lab.cc(["host", "remove", "h3"])).code, 0);
    for (const host of [1, 2]) {
      await eventually(`h3 is gone at host ${host}`, async () => {
        const list = await lab.json<(Host & { state: string })[]>(["host", "list"], { host });
        return list.find((one) => one.id === third?.id)?.state === "removed";
      });
    }
    const run = await lab.cc(["run", "--rm", "--explain", "--image", image, "echo", "on two"], { host: 1 });
    t.match(run, { code: 0, stdout: "on two\n" });
    t.notMatch(run.stderr, /h3/, "it is not even asked");
  });

  await t.test("nothing is left of what was refused", async (t) => {
    t.same(late, [], "every answer came in time");
    for (const host of [1, 2]) {
      // Those with --rm are kept a few seconds for whoever reads what they wrote. Of the removed host what had ended stays.
      const left = await eventually(`only what failed is listed at host ${host}`, async () => {
        const listed = await lab.json<{ id: string; phase: string; hostName: string }[]>(["ps", "--all"], { host });
        return listed.every(({ phase, hostName }) => phase === "failed" || !["h1", "h2"].includes(hostName)) && listed;
      });
      if (left.length > 0) t.equal((await lab.cc(["rm", "--force", ...left.map(({ id }) => id)], { host })).code, 0);
    }
  });
});

type Answer = { readonly status: number; readonly code: string; readonly details: Readonly<Record<string, string>>; readonly body: string };

function post(url: string, headers: Readonly<Record<string, string>>, body: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method: "POST", rejectUnauthorized: false, headers: { "content-type": "application/json", ...headers } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const details = response.headers["cc-error-details"];
        resolve({
          status: response.statusCode ?? 0,
          code: String(response.headers["cc-error-code"] ?? ""),
          details: typeof details === "string" ? JSON.parse(decodeURIComponent(details)) : {},
          body: Buffer.concat(chunks).toString(),
        });
      });
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

/** Signs as cc does, with a clock of its own. */
function signedAt(nowMs: number, env: Readonly<Record<string, string>>, message: object): [Record<string, string>, string] {
  const body = JSON.stringify(message);
  const digest = `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
  const input = `("content-digest");created=${Math.floor(nowMs / 1000)};nonce="${"n".repeat(24)}";keyid="${env["CC_ACCESS_TOKEN"]?.split(".")[0]}";alg="ed25519"`;
  const secret = env["CC_SECRET_KEY"] ?? "";
  const text = secret.startsWith("@") ? readFileSync(secret.slice(1), "utf8").trim() : secret;
  const seed = Buffer.from(text.slice(4), "base64url");
  const key = createPrivateKey({ key: Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]), format: "der", type: "pkcs8" });
  const signature = sign(null, Buffer.from(`"content-digest": ${digest}\n"@signature-params": ${input}`), key).toString("base64");
  return [{ "content-digest": digest, "signature-input": `cc=${input}`, signature: `cc=:${signature}:` }, body];
}
