import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { commandEnvironment } from "../../../src/host/command-environment.ts";
import { createLogger, redact } from "../../../src/host/index.ts";

t.test("secrets are hidden at any depth, whatever their spelling", async (t) => {
  const fields = {
    user: "a",
    password: "p1",
    nested: { secret_key: "p2", list: [{ Authorization: "p3" }], accessToken: "p4", "invite-key": "p5" },
    env: { A: "p6" },
    url: "https://user:p7@host/x",
    registryCredentials: { password: "p8" },
  };
  t.notMatch(JSON.stringify(redact(fields)), /p\d/);
  t.match(redact(fields), { user: "a", url: "https://[hidden]@host/x" });
  t.same(redact({ runToken: "t", hasPassword: true, n: 5n, bytes: new Uint8Array(3) }), { runToken: "t", hasPassword: true, n: "5", bytes: "[3 bytes]" });
});

t.test("errors keep code, message and cause, cycles end, secrets in messages of URLs go", async (t) => {
  const cause = new Error("get https://u:pw@h failed");
  const seen = JSON.stringify(redact({ error: new CcError("NOT_FOUND", "gone", { cause }) }));
  t.match(seen, /"code":"NOT_FOUND"/);
  t.match(seen, /gone/);
  t.notMatch(seen, /pw@/);
  const loop: Record<string, unknown> = {};
  loop["self"] = loop;
  t.match(JSON.stringify(redact(loop)), /\[deep\]/);
});

t.test("the log is one JSON line each, with the fields of its parents, hidden there too", async (t) => {
  const lines: string[] = [];
  const log = createLogger({ level: "info", to: { write: (line: string) => void lines.push(line) }, fields: { host: "h1", secretKey: "x1" } });
  log.debug({ a: 1 }, "not shown");
  log.child({ domain: "images", password: "x2" }).info({ image: "alpine", token: 1, credentials: "x3" }, "pulled");
  t.equal(lines.length, 1);
  const line: unknown = JSON.parse(lines[0] ?? "");
  t.match(line, { level: "info", host: "h1", domain: "images", image: "alpine", msg: "pulled", time: /^\d{4}-/ });
  t.notMatch(lines[0], /x[123]/);
});

t.test("programs see little of our environment", async (t) => {
  const own = { PATH: "/bin", HOME: "/root", CC_SECRET_KEY: "s", HTTPS_PROXY: "http://p", LANG: "de_DE" };
  t.same(commandEnvironment(own, { X: "1" }), { PATH: "/bin", HOME: "/root", HTTPS_PROXY: "http://p", LC_ALL: "C.UTF-8", X: "1" });
  t.match(commandEnvironment({})["PATH"], "/usr/bin");
});
