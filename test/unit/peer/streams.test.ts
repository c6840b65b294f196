import fc from "fast-check";
import t from "tap";
import { relay } from "../../../nodes/peer/streams/relay.ts";
import { createTimestamper } from "../../../nodes/peer/streams/timestamps.ts";
import { End, turns } from "./stream-end.ts";

const AT = "1970-01-01T00:00:01.000Z ";

t.test("every line gets one time, however it comes in parts", async (t) => {
  const stamp = createTimestamper();
  const said = ["a\nb", "c\n", "", "\n", "d"].map((text) => Buffer.from(stamp(1_000, Buffer.from(text))).toString("utf8")).join("");
  t.equal(said, `${AT}a\n${AT}bc\n${AT}\n${AT}d`);
});

t.test("without its times the output is what it was", async () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z\n]*$/)), (parts) => {
      const stamp = createTimestamper();
      const said = parts.map((part) => Buffer.from(stamp(1_000, Buffer.from(part))).toString("utf8")).join("");
      const whole = parts.join("");
      const stripped = said
        .split("\n")
        .map((line) => (line.startsWith(AT) ? line.slice(AT.length) : line))
        .join("\n");
      if (stripped !== whole) throw new Error(`${JSON.stringify(said)} is not ${JSON.stringify(whole)}`);
      const lines = whole.split("\n").length - (whole.endsWith("\n") || whole === "" ? 1 : 0);
      if (said.split(AT).length - 1 !== lines) throw new Error(`${said.split(AT).length - 1} times on ${lines} lines`);
    }),
  );
});

t.test("frames go both ways until the far side has ended", async (t) => {
  const [near, far] = [new End(), new End()];
  const done = relay(near, far, new AbortController().signal);
  near.push("in 1", "in 2", undefined);
  far.push("out 1", "out 2");
  await turns();
  t.same(far.got, ["in 1", "in 2"]);
  t.ok(far.ended, "no more input is passed on");
  t.same(near.got, ["out 1", "out 2"]);
  far.push("out 3", undefined);
  await done;
  t.same(near.got, ["out 1", "out 2", "out 3"]);
  t.notOk(near.ended, "whether the user's side ends is its owner's to say");
});

t.test("a user that types nothing more does not hold it open", async (t) => {
  const [near, far] = [new End(), new End()];
  const done = relay(near, far, new AbortController().signal);
  far.push("out", undefined);
  await done;
  t.same(near.got, ["out"]);
  t.ok(far.aborted instanceof Error);
});

t.test("a slow reader slows the writer", async (t) => {
  const [near, far] = [new End(), new End()];
  near.room = 1;
  let taken = 0;
  const source = far.frames();
  far.frames = async function* () {
    for await (const frame of source) {
      taken += 1;
      yield frame;
    }
  };
  const done = relay(near, far, new AbortController().signal);
  far.push(...Array.from({ length: 100 }, (_, at) => `out ${at}`), undefined);
  await turns(50);
  t.ok(taken <= 2, `${taken} frames were taken for a reader of one`);
  near.room = Number.POSITIVE_INFINITY;
  await done;
  t.equal(near.got.length, 100);
});

t.test("an abort, and the loss of either side, end both", async (t) => {
  const cancel = new AbortController();
  const [near, far] = [new End(), new End()];
  const done = relay(near, far, cancel.signal);
  cancel.abort(new Error("enough"));
  await t.rejects(done, { message: "enough" });
  t.match(far.aborted, { message: "enough" });

  const [near2, far2] = [new End(), new End()];
  const lost = relay(near2, far2, new AbortController().signal);
  near2.abort(new Error("hung up"));
  await t.rejects(lost, { message: "hung up" });

  const [near3, far3] = [new End(), new End()];
  const before = relay(near3, far3, AbortSignal.abort(new Error("too late")));
  await t.rejects(before, { message: "too late" });
});
