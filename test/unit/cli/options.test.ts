import fc from "fast-check";
import t from "tap";
import { GLOBAL_FLAGS } from "../../../cli/cloud-command.ts";
import { asFailure, exitCodeOf, failureLine } from "../../../cli/failure.ts";
import {
  checkImage,
  collectPairs,
  parseByteSize,
  parseEnv,
  parseEnvFile,
  parseLabel,
  parseShares,
  parseSignal,
  parseSince,
  parseTail,
} from "../../../cli/options.ts";
import { buildSpec, RUN_FLAGS } from "../../../cli/run-options.ts";
import { splitCommand } from "../../../cli/split-command.ts";
import { parseEndpoints } from "../../../src/api/client-connection.ts";
import { isErrorCode, type Result } from "../../../src/base/index.ts";
import { decodeInvite, parseAccessToken, parseSecretKey } from "../../../src/identity/index.ts";

const anyText = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.string({ unit: fc.constantFrom("=", "#", "-", "0", "9", "k", "G", ".", ",", ":", "/", "\n", "\u0000", "@", "[", "]") }),
);

t.test("environment variables", async (t) => {
  const environment = { HERE: "value", EMPTY: "" };
  t.same(parseEnv("A=1=2", environment), { ok: true, value: ["A", "1=2"] });
  t.same(parseEnv("A=", environment), { ok: true, value: ["A", ""] });
  t.same(parseEnv("HERE", environment), { ok: true, value: ["HERE", "value"] });
  t.same(parseEnv("EMPTY", environment), { ok: true, value: ["EMPTY", ""] });
  t.same(parseEnv("GONE", environment), { ok: true, value: undefined });
  t.same(parseEnv("valueOf", environment), { ok: true, value: undefined }, "no variable of the environment");
  for (const wrong of ["", "=x", "A B=1", "A\u0000=1", "A=\u0000"]) t.notOk(parseEnv(wrong, environment).ok, JSON.stringify(wrong));
  t.match(parseEnvFile("A=1\n B C=2\n", environment, "x.env"), { ok: false, message: /^x\.env line 2: / });
  t.same(
    collectPairs(["A=1", "A=2", "GONE"], (text) => parseEnv(text, environment)),
    { ok: true, value: { A: "2" } },
  );
});

t.test("the rest of the values", async (t) => {
  t.same(parseLabel("app.io/x=a=b"), { ok: true, value: ["app.io/x", "a=b"] });
  t.same(parseLabel("tier"), { ok: true, value: ["tier", ""] });
  t.notOk(parseLabel("-x=1").ok);
  t.same(parseByteSize("512m"), { ok: true, value: 536_870_912 });
  for (const wrong of ["0", "-1", "", "12x", "9e99t", "1.5.5g"]) t.notOk(parseByteSize(wrong).ok, wrong);
  t.same(parseShares("1024"), { ok: true, value: 1024 });
  for (const wrong of ["0", "1", "-5", "1.5", "300000", ""]) t.notOk(parseShares(wrong).ok, wrong);
  for (const [text, name] of [
    ["SIGTERM", "SIGTERM"],
    ["term", "SIGTERM"],
    ["15", "SIGTERM"],
    ["sigusr1", "SIGUSR1"],
  ] as const)
    t.same(parseSignal(text), { ok: true, value: name });
  for (const wrong of ["", "SIGNOPE", "0", "99"]) t.notOk(parseSignal(wrong).ok, wrong);
  t.same(parseSince("10m", 1_000_000), { ok: true, value: 400_000 });
  t.same(parseSince("2026-01-31T12:00:00Z", 0), { ok: true, value: Date.UTC(2026, 0, 31, 12) });
  for (const wrong of ["", "yesterday", "2026-13-99"]) t.notOk(parseSince(wrong, 0).ok, wrong);
  t.same(
    [parseTail("all"), parseTail("0"), parseTail("17")],
    [-1, 0, 17].map((value) => ({ ok: true, value })),
  );
  for (const wrong of ["", "-1", "x", "1e9"]) t.notOk(parseTail(wrong).ok, wrong);
  t.ok(checkImage("oci:dir:tag").ok);
  t.match(checkImage("docker-archive:"), { code: "BAD_USAGE" });
  t.ok(checkImage("oci/thing").ok, "a name that begins like a kind is none");
});

t.test("nothing that anybody types breaks a parser", async () => {
  const parsers: ((text: string) => Result<unknown>)[] = [
    (text) => parseEnv(text, {}),
    (text) => parseEnvFile(text, {}, "file"),
    parseLabel,
    (text) => parseByteSize(text),
    parseShares,
    parseSignal,
    (text) => parseSince(text, 1e12),
    parseTail,
    checkImage,
    parseEndpoints,
    parseAccessToken,
    parseSecretKey,
    decodeInvite,
  ];
  fc.assert(
    fc.property(fc.nat(parsers.length - 1), anyText, (at, text) => {
      const result = parsers[at]?.(text);
      return result !== undefined && (result.ok || (isErrorCode(result.code) && result.message !== ""));
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.string({ minLength: 6 }), (text) => {
      // Secrets with a letter wrong must not come back in the error.
      const refused = [parseSecretKey(`ccs_${text}`), decodeInvite(`cci_${text}`)];
      return refused.every(
        (result) =>
          result.ok ||
          !result.message.includes(text) ||
          "it begins with ccs_, as cc-peer init and cc key create print it; @FILE reads it from a file".includes(text),
      );
    }),
  );
});

t.test("sizes and environment files keep what was written", async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 20 }), fc.constantFrom("", "k", "KiB", "m", "MB", "G"), (count, unit) => {
      const factor = { "": 1, k: 1024, KiB: 1024, m: 1024 ** 2, MB: 1024 ** 2, G: 1024 ** 3 }[unit] ?? 0;
      const size = parseByteSize(`${count}${unit}`);
      return size.ok && size.value === count * factor;
    }),
  );
  const name = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,10}$/);
  fc.assert(
    fc.property(fc.dictionary(name, fc.stringMatching(/^[^\r\n\0]*$/), { noNullPrototype: true }), (variables) => {
      const text = Object.entries(variables)
        .map(([key, value]) => `${key}=${value}\n`)
        .join("");
      const pairs = parseEnvFile(text, {}, "f");
      return pairs.ok && JSON.stringify(Object.fromEntries(pairs.value)) === JSON.stringify(variables);
    }),
  );
});

t.test("endpoints", async (t) => {
  const urls = (text: string): unknown => {
    const result = parseEndpoints(text);
    return result.ok ? result.value.map(({ url }) => url) : result.message;
  };
  t.same(urls("https://a:1, https://b:2,,https://a:1/"), ["https://a:1", "https://b:2"]);
  t.same(urls("attic:8443"), ["https://attic:8443"]);
  t.same(urls("https://attic"), ["https://attic:8443"]);
  t.same(urls("https://attic:443"), ["https://attic:443"]);
  t.same(urls("https://[fd00::1]:7"), ["https://[fd00::1]:7"]);
  t.match(parseEndpoints("https://[fd00::1]:7"), { value: [{ host: "fd00::1", port: 7 }] });
  t.match(parseEndpoints("unix:/run/cc/api.sock"), { value: [{ kind: "unix", path: "/run/cc/api.sock" }] });
  for (const wrong of ["", ",", "http://a:1", "https://u:p@a:1", "https://a:1/path", "https://a:1?x", "https://", "https://a:99999"])
    t.type(urls(wrong), "string", wrong);
});

t.test("options end at the command", async (t) => {
  const flags = { ...GLOBAL_FLAGS, ...RUN_FLAGS };
  const split = (text: string) => splitCommand(text === "" ? [] : text.split(" "), flags, 0);
  t.same(split("--image alpine ls --color"), { options: ["--image", "alpine"], command: ["ls", "--color"] });
  t.same(split("--image=alpine -it ls -l"), { options: ["--image=alpine", "-it"], command: ["ls", "-l"] });
  t.same(split("-ie A=1 -eB=2 --image x -- -x"), { options: ["-ie", "A=1", "-eB=2", "--image", "x"], command: ["-x"] });
  t.same(split("--image x -d"), { options: ["--image", "x", "-d"], command: [] });
  t.same(split("--unknown x"), { options: ["--unknown"], command: ["x"] }, "an unknown one takes no value");
  t.same(split("--image"), { options: ["--image"], command: [] });
  t.same(split("--image - x"), { options: ["--image", "-"], command: ["x"] });
  t.same(split("--image x -- a -- b"), { options: ["--image", "x"], command: ["a", "--", "b"] });
  t.same(splitCommand(["-it", "web", "ls", "-l"], { interactive: { type: "boolean", char: "i" }, tty: { type: "boolean", char: "t" } }, 1), {
    options: ["-it", "web"],
    command: ["ls", "-l"],
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.constantFrom("--", "-e", "--image", "ls", "-d"))), (words) => {
      const { options, command } = splitCommand(words, flags, 0);
      const rest = words.slice(options.length);
      return (
        JSON.stringify(options) === JSON.stringify(words.slice(0, options.length)) &&
        JSON.stringify(command) === JSON.stringify(rest[0] === "--" ? rest.slice(1) : rest)
      );
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.string()), (words) => JSON.stringify(splitCommand(["--image", "x", "--", ...words], flags, 0).command) === JSON.stringify(words)),
  );
});

t.test("a specification says only what was asked", async (t) => {
  const inputs = { environment: {}, readFile: () => "", resolveSecret: (text: string) => text };
  t.same(buildSpec({ image: "alpine", restart: "no" }, [], inputs), { image: "alpine", restart: "no" });
  t.same(buildSpec({ image: "alpine" }, ["", "x"], inputs), { image: "alpine", command: ["", "x"] });
  t.same(buildSpec({ image: "alpine", volume: ["d:/x", "e:/y:ro"] }, [], inputs).volumes, [
    { volume: "d", path: "/x", readOnly: false },
    { volume: "e", path: "/y", readOnly: true },
  ]);
  for (const bad of ["d", "d:x", ":/x", "d:/x:rx", "/srv:/x", "d:/x:ro:z"])
    t.throws(() => buildSpec({ image: "alpine", volume: [bad] }, [], inputs), /VOLUME:|volume/);
  t.match(buildSpec({ image: "alpine", publish: ["80"], "publish-on": "all", forward: true }, [], inputs), { publishEverywhere: true, forward: true });
  t.same(buildSpec({ image: "alpine", publish: ["80"], "publish-on": "host" }, [], inputs), { image: "alpine", publish: ["80"] });
  for (const more of [{ forward: true }, { "publish-on": "all" }])
    t.throws(() => buildSpec({ image: "alpine", ...more }, [], inputs), { code: "BAD_USAGE", message: /give --publish too/ });
  t.throws(() => buildSpec({ image: "alpine", "registry-password": "x" }, [], inputs), { code: "BAD_USAGE" });
});

t.test("errors are one line, with the right exit code", async (t) => {
  t.equal(failureLine(asFailure(new Error("a\n  b\n"))), "Error [INTERNAL]: a; b");
  t.equal(exitCodeOf(asFailure(new Error("x")), "plain"), 1);
  t.equal(exitCodeOf(asFailure(new Error("x")), "container"), 125);
  const usage = asFailure(Object.assign(new Error("Parsing --cpu \n\tbad\nSee more help with --help"), { oclif: { exit: 2 } }));
  t.equal(failureLine(usage), "Error [BAD_USAGE]: --cpu: bad");
  t.equal(exitCodeOf(usage, "container"), 2);
});
