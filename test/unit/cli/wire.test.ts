import { createHash } from "node:crypto";
import fc from "fast-check";
import t from "tap";
import { findCommand, nearest } from "../../../cli/find-command.ts";
import { makeLazy } from "../../../cli/lazy-requires.ts";
import { parseSeen, SEEN_MAX, seenAbout, seenLine } from "../../../cli/seen.ts";
import { signedBody } from "../../../cli/signed-body.ts";
import { plainText, renderFacts, renderTable } from "../../../cli/terminal.ts";
import { createResponseParser, encodeRequest, errorOf, type HttpResponse } from "../../../src/api/client-http.ts";
import { decodeReply } from "../../../src/api/client-replies.ts";
import { CcError } from "../../../src/base/index.ts";

const parseAll = (text: string | Buffer, sizes: readonly number[], ends = false): HttpResponse | undefined => {
  const bytes = Buffer.from(text);
  const parser = createResponseParser();
  let at = 0;
  for (const size of [...sizes, bytes.length]) {
    if (at >= bytes.length) break;
    const response = parser.push(bytes.subarray(at, at + Math.max(1, size)));
    at += Math.max(1, size);
    if (response !== undefined) return response;
  }
  return ends ? parser.end() : undefined;
};

t.test("responses, however they are cut", async (t) => {
  const body = '{"containers":[]}';
  const sized = `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nX-Y:  z \r\n\r\n${body}`;
  const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n${body.slice(0, 5)}\r\n${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\nTrailer: 1\r\n\r\n`;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 200 }), fc.constantFrom(sized, chunked), (sizes, text) => {
      const response = parseAll(text, sizes);
      return response?.status === 200 && Buffer.from(response.body).toString() === body && response.keepAlive;
    }),
  );
  t.equal(parseAll(sized, [])?.headers.get("x-y"), "z");
  const upgraded = parseAll("HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\nfirst frame", []);
  t.equal(Buffer.from(upgraded?.rest ?? []).toString(), "first frame");
  t.equal(Buffer.from(parseAll(`HTTP/1.1 200 OK\r\n\r\n${body}`, [], true)?.body ?? []).toString(), body, "to the end of the connection");
  t.equal(parseAll(`HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n${body}`, [], true), undefined, "cut off");
  t.equal(parseAll("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", [])?.keepAlive, false);
  for (const wrong of [
    "hello\r\n\r\n",
    "HTTP/1.1 200 OK\r\nnocolon\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
  ]) {
    t.throws(() => parseAll(wrong, []), { code: "PEER_UNREACHABLE" }, JSON.stringify(wrong));
  }
  t.throws(() => parseAll(`HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(20_000)}`, []), { code: "PEER_UNREACHABLE" });
  t.throws(() => encodeRequest("GET", "/", { a: "b\r\nc: d" }), { code: "INTERNAL" });
});

t.test("rubbish is refused, never anything else", async () => {
  const rubbish = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([Buffer.from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), bytes])),
  );
  fc.assert(
    fc.property(rubbish, (bytes) => {
      try {
        parseAll(Buffer.from(bytes), [7, 50], true);
        return true;
      } catch (error) {
        return error instanceof CcError && error.code === "PEER_UNREACHABLE";
      }
    }),
    { numRuns: 1000 },
  );
  fc.assert(
    fc.property(fc.constantFrom("ListContainers", "ListHosts", "Run", "Stop", "ContainerStatus", "CreateInvite"), fc.jsonValue(), (call, json) => {
      try {
        return typeof decodeReply(call, json) === "object";
      } catch (error) {
        return error instanceof CcError && error.code === "INTERNAL";
      }
    }),
    { numRuns: 1000 },
  );
});

/** An unmasked frame, as a server sends it. */
t.test("errors: our code, else Connect's status, else HTTP's", async (t) => {
  const response = (status: number, headers: Record<string, string>, body: string): HttpResponse => ({
    status,
    headers: new Map(Object.entries(headers)),
    body: Buffer.from(body),
    keepAlive: true,
    rest: new Uint8Array(),
  });
  t.match(errorOf(response(401, { "cc-error-code": "CLOCK_SKEW", "cc-error-details": encodeURIComponent('{"timeMs":"5","note":"ü"}') }, '{"message":"off"}')), {
    code: "CLOCK_SKEW",
    message: "off",
    details: { timeMs: "5", note: "ü" },
  });
  t.match(errorOf(response(401, { "cc-error-details": '{"timeMs":5}' }, '{"code":"unauthenticated","message":"m"}')), {
    code: "UNAUTHENTICATED",
    details: { timeMs: "5" },
  });
  t.match(errorOf(response(404, {}, "<html>")), { code: "NOT_YET" });
  t.match(errorOf(response(429, { "cc-error-code": "toString", "cc-error-details": "%" }, "")), { code: "RATE_LIMITED", details: {} });
  t.match(errorOf(response(500, {}, "")), { code: "INTERNAL", message: /status 500/ });
});

t.test("one's own writes", async (t) => {
  const write = (key: string, versionMajor: number, versionMinor = 0) => ({ key, versionMajor, versionMinor, host: "h" });
  const text = [write("a", 1), write("b", 5), write("a", 2), write("b", 4), write("c", 1, 2), write("c", 1, 1)].map(seenLine).join("");
  t.same(
    parseSeen(text),
    [write("a", 2), write("b", 5), write("c", 1, 2)].sort((x, y) => ["b", "a", "c"].indexOf(x.key) - ["b", "a", "c"].indexOf(y.key)),
  );
  t.equal(parseSeen(Array.from({ length: 100 }, (_, at) => seenLine(write(`k${at}`, 1))).join("")).length, SEEN_MAX);
  t.equal(seenLine(write("k".repeat(5000), 1)), "", "no record has such a key");
  t.same(
    seenAbout([write("user/z/container/c1", 1), write("user/z/wanted/c1", 2), write("user/z/wanted/xc1", 2)], "c1").map(({ key }) => key),
    ["user/z/container/c1", "user/z/wanted/c1"],
  );
  fc.assert(fc.property(fc.string(), (garbage) => Array.isArray(parseSeen(garbage))));
});

t.test("which command is meant", async (t) => {
  const commands = { ps: 1, run: 1, "host:list": 1, "local-remote:serve": 1 };
  const topics = { host: 1, "local-remote": 1 };
  const globals = { "cc-endpoint-url": { type: "option" }, json: { type: "boolean" } } as const;
  const find = (text: string) => findCommand(text === "" ? [] : text.split(" "), commands, topics, globals);
  t.same(find("ps --all"), { kind: "command", id: "ps", argv: ["--all"] });
  t.same(find("host list x"), { kind: "command", id: "host:list", argv: ["x"] });
  t.same(find("--json --cc-endpoint-url u ps -a"), { kind: "command", id: "ps", argv: ["--json", "--cc-endpoint-url", "u", "-a"] });
  t.same(find("--cc-endpoint-url=u host list"), { kind: "command", id: "host:list", argv: ["--cc-endpoint-url=u"] });
  for (const words of ["", "--help", "help", "-h"]) t.same(find(words), { kind: "help", words: [] });
  t.same(find("help host list"), { kind: "help", words: ["host:list"] });
  t.same(find("host"), { kind: "help", words: ["host"] });
  t.same(find("--version"), { kind: "version" });
  t.same(find("host lst"), { kind: "unknown", words: "host lst" });
  t.same(find("constructor"), { kind: "unknown", words: "constructor" });
  t.equal(nearest("host lst", Object.keys(commands)), "host list");
  t.equal(nearest("pss", Object.keys(commands)), "ps");
  t.equal(nearest("rum", Object.keys(commands)), "run");
  t.equal(nearest("something", Object.keys(commands)), undefined);
  fc.assert(fc.property(fc.array(fc.string()), (words) => typeof findCommand(words, commands, topics, globals).kind === "string"));
});

t.test("tables fit a terminal and lose nothing in a pipe", async (t) => {
  const columns = [
    { title: "ID", text: (row: string[]) => row[0] ?? "" },
    { title: "NAME", text: (row: string[]) => row[1] ?? "", shrinkTo: 4 },
    { title: "N", text: (row: string[]) => row[2] ?? "", align: "right" as const },
  ];
  const rows = [
    ["a", "a-very-long-name", "1"],
    ["bb", "", "23"],
  ];
  t.same(renderTable(columns, rows, undefined), ["ID  NAME               N", "a   a-very-long-name   1", "bb  -                 23"]);
  t.same(renderTable(columns, rows, 16), ["ID  NAME       N", "a   a-very-…   1", "bb  -         23"]);
  t.same(renderTable(columns, rows, 3)[1], "a   a-v…   1", "never cut to nothing");
  t.same(renderTable(columns, [], 80), ["ID  NAME  N"]);
  t.same(
    renderFacts([
      ["Id", "x"],
      ["Reason", ""],
      ["Name", "y"],
    ]),
    ["Id:   x", "Name: y"],
  );
  t.equal(plainText("a\u001b[2J\u009b\r\nb\u202ec"), "a?[2J???b?c");
});

t.test("bodies to sign", async (t) => {
  const to = { call: "Stop", mesh: "m", peer: "p", token: "t" };
  t.same(JSON.parse(signedBody(to, '{"containers":["c"],"to":{"peer":"other"}}')), {
    containers: ["c"],
    token: "t",
    to: { call: "Stop", mesh: "m", peer: "p" },
  });
  t.same(JSON.parse(signedBody(to, '{"token":"mine"}'))["token"], "mine");
  t.equal(JSON.parse(signedBody({ ...to, call: "WhoAmI" }, "{}"))["token"], undefined);
  for (const wrong of ["", "[]", "3", "null", "{"]) t.throws(() => signedBody(to, wrong), { code: "BAD_USAGE" });
});

t.test("requires made lazy mean the same", async (t) => {
  const source = [
    '"use strict";',
    'const a_1 = require("./a");',
    'const b_1 = __importDefault(require("./b"));',
    'const cache_1 = __importDefault(require("./cache"));',
    'const C = __importStar(require("./c"));',
    "exports.x = () => (0, a_1.run)(b_1.default, C.list, cache_1.default);",
    "exports.y = () => new b_1.default(1);",
    "class D extends a_1.Base { a_1x() { return this.a_1; } }",
    "exports.D = D;",
  ].join("\n");
  const lazy = makeLazy(source);
  const load = (text: string) => {
    const required: string[] = [];
    const modules: Record<string, unknown> = {
      "./a": { run: (...all: unknown[]) => all, Base: class {} },
      "./b": class B {
        n: number;
        constructor(n: number) {
          this.n = n;
        }
      },
      "./cache": "cache",
      "./c": { list: [1] },
    };
    const exports: Record<string, (...args: unknown[]) => unknown> = {};
    const wrap = (value: unknown) => ({ default: value });
    new Function("exports", "require", "__importDefault", "__importStar", text)(
      exports,
      (name: string) => {
        required.push(name);
        return modules[name];
      },
      wrap,
      (value: unknown) => value,
    );
    return { exports, required };
  };
  const eager = load(source);
  const later = load(lazy);
  t.same(eager.required, ["./a", "./b", "./cache", "./c"]);
  t.same(later.required, ["./cache", "./a"], "only what the class needs at once");
  t.same(later.exports["x"]?.(), eager.exports["x"]?.());
  t.same(later.exports["y"]?.(), eager.exports["y"]?.());
  t.same(later.required, ["./cache", "./a", "./b", "./c"], "each once");
  t.equal(createHash("sha1").update(makeLazy("no requires")).digest("hex"), createHash("sha1").update("no requires").digest("hex"));
});
