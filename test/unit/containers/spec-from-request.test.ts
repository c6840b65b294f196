import { create, type MessageInitShape } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { ContainerSpecSchema, type ContainerSpec as SpecMessage } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { SPEC_DEFAULTS, SPEC_LIMITS, signalName, specFromRequest } from "../../../src/containers/index.ts";
import { ID } from "./fakes.ts";

type Fields = Exclude<MessageInitShape<typeof ContainerSpecSchema>, SpecMessage>;
const message = (more: Fields = {}): SpecMessage => create(ContainerSpecSchema, { image: "alpine", ...more });

t.test("what is left out has its documented default", async (t) => {
  const result = specFromRequest(ID, message());
  t.match(result, { ok: true, value: { id: ID, name: "", command: [], env: {}, user: "", dir: "", stopSignal: "", readOnly: false, ...SPEC_DEFAULTS } });
});

t.test("what is given stays", async (t) => {
  const given = {
    name: "web",
    command: ["sh", "-c", "exit 3"],
    env: { A: "b=c", "with.dot": "" },
    user: "1000:www",
    dir: "/srv/new dir",
    memoryBytes: 2 ** 30,
    cpuShares: 2,
    diskBytes: 2 ** 31,
    pidsMax: 100,
    labels: { "a.b/c": "x y" },
    restart: "on-failure",
    readOnly: true,
    init: true,
    stopTimeoutMs: 5,
    logFileBytes: 65_536,
    logFiles: 1,
    stdinOpen: true,
    removeWhenEnded: true,
    keepEndedMs: 60_000,
  };
  t.match(specFromRequest(ID, message({ ...given, stopSignal: "int" })), { ok: true, value: { ...given, stopSignal: "SIGINT" } });
});

t.test("refusals are one clear sentence", async (t) => {
  const cases: readonly [Fields, RegExp][] = [
    [{ image: "" }, /no image was given/],
    [{ image: "a b" }, /spaces/],
    [{ name: "Web" }, /"Web" is not a name/],
    [{ command: ["a\0b"] }, /zero byte/],
    [{ command: ["", "x"] }, /first word is empty/],
    [{ command: Array.from({ length: 1025 }, () => "x") }, /1025 words/],
    [{ env: { "1A": "x" } }, /"1A" is not a name of an environment variable/],
    [{ env: { A: "secret\0" } }, /value of the environment variable A contains a zero byte/],
    [{ env: Object.fromEntries(Array.from({ length: 513 }, (_, at) => [`A${at}`, ""])) }, /513 environment variables/],
    [{ labels: { "": "x" } }, /is not a label/],
    [{ labels: { a: "x\ny" } }, /control characters/],
    [{ user: "a:b:c" }, /is not a user/],
    [{ user: "a b" }, /is not a user/],
    [{ user: "root:" }, /is not a user/],
    [{ dir: "srv" }, /not absolute/],
    [{ dir: "/a/../../b" }, /"\.\."/],
    [{ restart: "sometimes" }, /--restart "sometimes" is unknown/],
    [{ stopSignal: "SIGNOPE" }, /not a signal/],
    [{ memoryBytes: 1024 }, /--memory is 1024 bytes; give whole bytes from 16777216 \(16 MiB\)/],
    [{ memoryBytes: -1 }, /--memory/],
    [{ memoryBytes: Number.NaN }, /--memory/],
    [{ memoryBytes: 2 ** 26 + 0.5 }, /whole bytes/],
    [{ diskBytes: Number.POSITIVE_INFINITY }, /--disk/],
    [{ cpuShares: 1 }, /--cpu is 1; give a whole number from 2/],
    [{ pidsMax: 1 }, /pids_max/],
    [{ stopTimeoutMs: 3_600_001 }, /--stop-timeout/],
    [{ logFileBytes: 1000 }, /--log-size/],
    [{ logFiles: 101 }, /log_files/],
    [{ keepEndedMs: 1e15 }, /keep_ended_ms/],
  ];
  for (const [more, words] of cases) {
    const result = specFromRequest(ID, message(more));
    t.match(result, { ok: false, message: words }, String(words));
    if (!result.ok) t.notMatch(result.message, /secret|\n/, "one line, no values");
  }
  t.match(specFromRequest(ID, message({ command: ["x".repeat(SPEC_LIMITS.bytesMax)] })), { ok: false, code: "TOO_LARGE" });
});

t.test("any message is refused or gives a spec within its limits", async (t) => {
  const text = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.constantFrom("root", "/srv", "always", "SIGTERM"));
  const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, 64 * 2 ** 20));
  const messages = fc.record(
    {
      image: text,
      name: text,
      command: fc.array(text),
      env: fc.dictionary(text, text),
      user: text,
      dir: text,
      labels: fc.dictionary(text, text),
      restart: text,
      stopSignal: text,
      memoryBytes: number,
      cpuShares: number,
      diskBytes: number,
      stopTimeoutMs: number,
      logFileBytes: number,
      keepEndedMs: number,
      logFiles: fc.nat(),
      pidsMax: fc.nat(),
    },
    { requiredKeys: ["image"] },
  );
  fc.assert(
    fc.property(messages, (fields) => {
      const result = specFromRequest(ID, message(fields));
      if (!result.ok) return result.message.length > 0 && !/[\u0000-\u001f]/.test(result.message);
      const { memoryBytes, diskBytes, dir, stopSignal } = result.value;
      return (
        memoryBytes >= SPEC_LIMITS.memoryBytes[0] &&
        diskBytes <= SPEC_LIMITS.diskBytes[1] &&
        (dir === "" || dir.startsWith("/")) &&
        (stopSignal === "" || stopSignal.startsWith("SIG"))
      );
    }),
    { numRuns: 500 },
  );
  t.pass("500 messages");
});

t.test("signals in any spelling", async (t) => {
  for (const text of ["15", "TERM", "SIGTERM", "sigterm", " term "]) t.equal(signalName(text), "SIGTERM", text);
  t.equal(signalName("RTMIN+3"), "SIGRTMIN+3");
  for (const text of ["", "0", "99", "SIG", "RTMIN+31", "TERM;rm"]) t.equal(signalName(text), undefined, `"${text}"`);
});
