import fc from "fast-check";
import t from "tap";
import { serveExec } from "../../../nodes/peer/streams/exec.ts";
import { ExecRequestSchema } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { Channel, decodeBody, encodeFrame, encodeJsonFrame, FRAME_BYTES_MAX, INPUT_WINDOW_BYTES } from "../../../src/api/index.ts";
import { asCcError, type ContainerId } from "../../../src/base/index.ts";
import { type ExecChunk, type ExecExit, type ExecProcess, type ExecSpec, execFromRequest } from "../../../src/containers/index.ts";
import { arbitraryWire } from "./arbitrary-message.ts";
import { End, turns } from "./stream-end.ts";

const SEED = Number(process.env["CC_TEST_SEED"] ?? 20_261_128);
const ID = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;
const SPEC: ExecSpec = { command: ["cat"], env: {}, user: "", dir: "", stdin: true };

/** A process that does what the test says. */
class FakeExec implements ExecProcess {
  readonly calls: string[] = [];
  takenBytes = 0;
  /** Input is taken only while true. */
  reads = true;
  ends = 0;
  readonly #chunks: (ExecChunk | undefined)[] = [];
  #settle: { resolve(exit: ExecExit): void; reject(error: unknown): void } | undefined;
  readonly exit = new Promise<ExecExit>((resolve, reject) => {
    this.#settle = { resolve, reject };
  });

  says(stream: "stdout" | "stderr", text: string): void {
    this.#chunks.push({ stream, data: Buffer.from(text) });
  }
  finish(exit: ExecExit): void {
    this.#chunks.push(undefined);
    this.#settle?.resolve(exit);
  }
  fail(error: unknown): void {
    this.#chunks.push(undefined);
    this.#settle?.reject(error);
  }
  async *output(): AsyncGenerator<ExecChunk> {
    while (this.ends === 0) {
      if (this.#chunks.length === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      else {
        const chunk = this.#chunks.shift();
        if (chunk === undefined) return;
        yield chunk;
      }
    }
  }
  async write(data: Uint8Array): Promise<void> {
    while (!this.reads && this.ends === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    this.takenBytes += data.length;
  }
  async endInput(): Promise<void> {
    this.calls.push(`end after ${this.takenBytes}`);
  }
  async kill(signalName: string): Promise<void> {
    this.calls.push(signalName);
  }
  async end(): Promise<void> {
    this.ends += 1;
  }
}

const signalFrame = (signal: string): Uint8Array => encodeJsonFrame(Channel.control, { signal });
const inputFrame = (bytes: number): Uint8Array => encodeFrame(Channel.stdin, new Uint8Array(bytes));
const inputEnd = encodeFrame(Channel.stdinEnd, new Uint8Array());

function serving(spec: ExecSpec = SPEC, signal: AbortSignal = new AbortController().signal) {
  const process = new FakeExec();
  const channel = new End();
  const asked: unknown[] = [];
  const exec = async (...words: readonly unknown[]): Promise<ExecProcess> => {
    asked.push(words.slice(0, 2));
    return process;
  };
  const done = serveExec({ exec }, ID, spec, channel, signal);
  done.catch(() => undefined);
  return { process, channel, asked, done };
}

t.test("output apart and in order, and how it ended", async (t) => {
  const { process, channel, asked, done } = serving();
  process.says("stdout", "out");
  process.says("stderr", "err");
  process.says("stdout", "x".repeat(FRAME_BYTES_MAX + 1));
  process.finish({ exitCode: 3, withContainer: false });
  await done;
  t.same(asked, [[ID, SPEC]]);
  t.same(
    channel.got.map((text) => (text.length > 60 ? text.length : text)),
    ["\x10out", "\x11err", FRAME_BYTES_MAX + 1, "\x10x", '\x12{"type":"end","exitCode":3}'],
  );
  t.equal(process.ends, 1);
  const other = serving();
  other.process.finish({ exitCode: 137, withContainer: true });
  await other.done;
  t.match(other.channel.got.at(-1), /"exitCode":137,"reason":"its container ended/);
});

t.test("input is passed on in order, said to be taken, and never more than the window", async (t) => {
  const { process, channel, done } = serving();
  channel.push(inputFrame(10), inputFrame(20), inputEnd);
  await turns();
  t.same(process.calls, ["end after 30"]);
  t.equal(taken(channel), 30);

  process.finish({ exitCode: 0, withContainer: false });
  await done;
  const deaf = serving();
  deaf.process.reads = false;
  for (let at = 0; at < INPUT_WINDOW_BYTES / FRAME_BYTES_MAX; at += 1) deaf.channel.push(inputFrame(FRAME_BYTES_MAX));
  deaf.channel.push(signalFrame("INT"));
  await turns(60);
  t.same(deaf.process.calls, ["SIGINT"], "a signal overtakes what is not read");
  t.equal(taken(deaf.channel), 0);
  deaf.channel.push(inputFrame(1));
  await t.rejects(deaf.done, { code: "BAD_REQUEST" });
  t.equal(deaf.process.ends, 1);

  const without = serving({ ...SPEC, stdin: false });
  without.channel.push(inputFrame(10), inputEnd);
  await turns();
  t.same([without.process.takenBytes, without.process.calls], [0, []], "not asked for");
  without.process.finish({ exitCode: 0, withContainer: false });
  await without.done;
});

function taken(channel: End): number {
  const said = channel.got.flatMap((text) => (text.includes('"took"') ? [Number(/"bytes":(\d+)/.exec(text)?.[1])] : []));
  return said.reduce((sum, bytes) => sum + bytes, 0);
}

t.test("whoever leaves, by whatever end of it, the process is ended", async (t) => {
  const left = serving();
  left.channel.push(undefined);
  await t.rejects(left.done, { code: "CANCELLED" });
  t.equal(left.process.ends, 1);

  const lost = serving();
  await turns();
  lost.channel.abort(new Error("the line is dead"));
  await t.rejects(lost.done, { message: "the line is dead" });
  t.equal(lost.process.ends, 1);

  const stopping = new AbortController();
  const stopped = serving(SPEC, stopping.signal);
  await turns();
  stopping.abort(new Error("the peer stops"));
  await t.rejects(stopped.done, { message: "the peer stops" });
  t.equal(stopped.process.ends, 1);

  const blocked = serving();
  blocked.channel.room = 0;
  blocked.process.says("stdout", "nobody takes this");
  await turns();
  blocked.channel.push(undefined);
  await t.rejects(blocked.done, { code: "CANCELLED" }, "also one whose output nobody takes");
  t.equal(blocked.process.ends, 1);
  blocked.channel.room = Number.POSITIVE_INFINITY;

  const failed = serving();
  failed.process.fail(new Error("never began"));
  await t.rejects(failed.done, { message: "never began" });
  t.equal(failed.process.ends, 1);
});

t.test("whatever frames come, the answer is an answer or a refusal, and the process is ended once", async () => {
  const frame = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => encodeFrame(Channel.stdin, bytes)),
    fc.json().map((text) => encodeFrame(Channel.control, Buffer.from(text))),
    fc.string().map((signal) => signalFrame(signal)),
    fc.constant(inputEnd),
    fc.constant(inputFrame(FRAME_BYTES_MAX + 1)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 12 }), fc.boolean(), async (frames, stdin) => {
      const { process, channel, done } = serving({ ...SPEC, stdin });
      channel.push(...frames, undefined);
      const code = await done.then(
        () => "none",
        (error: unknown) => asCcError(error).code,
      );
      if (code !== "CANCELLED" && code !== "BAD_REQUEST") throw new Error(code);
      if (process.ends !== 1) throw new Error(`${process.ends} ends`);
    }),
    { seed: SEED, numRuns: 200 },
  );
});

t.test("whatever request comes, it is one that can be run or it is refused", async () => {
  const words = { strings: ["a\0b", "", "/", "../..", "root:", "A=B", "x".repeat(5_000)], bytes: [new Uint8Array(3)] };
  await fc.assert(
    fc.asyncProperty(arbitraryWire(ExecRequestSchema, words), async (bytes) => {
      let read: ReturnType<typeof execFromRequest>;
      try {
        read = execFromRequest(decodeBody(ExecRequestSchema, bytes));
      } catch (error) {
        if (asCcError(error).code !== "BAD_REQUEST") throw error;
        return;
      }
      if (!read.ok) return;
      const { command, env, dir } = read.value;
      const texts = [...command, ...Object.entries(env).flat(), dir];
      if (command.length === 0 || command[0] === "" || texts.some((text) => text.includes("\0"))) throw new Error(JSON.stringify(read.value));
    }),
    { seed: SEED, numRuns: 500 },
  );
});
