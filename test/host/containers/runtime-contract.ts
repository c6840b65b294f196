import t, { type Test } from "tap";
import { asCcError, CcError, type ContainerId } from "../../../src/base/index.ts";
import type { ContainerRuntime, ContainerSpec } from "../../../src/containers/index.ts";
import type { ImageOnHost } from "../../../src/images/index.ts";

/** What a driver needs to be held to the contract of ContainerRuntime. */
export type RuntimeUnderTest = {
  readonly image: ImageOnHost;
  readonly spec: (id: ContainerId, more?: Partial<ContainerSpec>) => ContainerSpec;
  readonly newId: () => ContainerId;
  /** A runtime over what is there; the one before counts as dead. */
  readonly open: () => Promise<ContainerRuntime>;
  /** Commands with a known behaviour. */
  readonly commands: {
    readonly printing: (stdout: string, stderr: string, exitCode: number) => readonly string[];
    /** Prints `tick` every few milliseconds, ends with 0 after `ticks` of them. */
    readonly ticking: (ticks: number) => readonly string[];
    /** Runs for a minute; ends with 143 at SIGTERM. Prints `ready` first. */
    readonly waiting: () => readonly string[];
    /** Runs for a minute, whatever signal but KILL. Prints `ready` first. */
    readonly deaf: () => readonly string[];
    /** Prints its standard input, ends with 0 at its end. */
    readonly echoing: () => readonly string[];
    readonly missing: () => readonly string[];
    readonly notExecutable: () => readonly string[];
  };
  /** What is left of containers on the machine; empty when nothing is. */
  readonly leftovers: () => Promise<readonly string[]>;
  readonly close: () => Promise<void>;
};

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

/** Reads output from `from` until `enough` says so or it ends. */
async function readUntil(runtime: ContainerRuntime, id: ContainerId, enough: (text: string) => boolean, from = 0): Promise<{ text: string; position: number }> {
  let text = "";
  let position = from;
  for await (const chunk of runtime.logs(id, { from, follow: true, signal: soon() })) {
    text += Buffer.from(chunk.data).toString();
    position = chunk.position;
    if (enough(text)) break;
  }
  return { text, position };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "no error",
    (error: unknown) => asCcError(error).code,
  );
}

/** The contract suite of ContainerRuntime: every driver runs it. */
export function describeContainerRuntime(name: string, make: () => Promise<RuntimeUnderTest>): void {
  t.test(`${name} keeps the contract of a container runtime`, async (t) => {
    const under = await make();
    t.teardown(() => under.close());
    const { image, spec, newId, commands } = under;
    let runtime = await under.open();
    const check = (what: string, body: (t: Test) => Promise<void>): Promise<unknown> =>
      t.test(what, async (t) => {
        await body(t);
        for (const id of await runtime.list()) await runtime.remove(id);
        t.same(await under.leftovers(), [], "nothing is left");
      });

    await check("what is not there", async (t) => {
      const id = newId();
      t.same(await runtime.inspect(id), { kind: "absent" });
      t.same(await runtime.list(), []);
      await runtime.kill(id, "SIGTERM");
      await runtime.settle(id);
      await runtime.remove(id);
      t.equal(await runtime.waitExit(id, soon()), undefined);
      t.equal(await runtime.metrics(id), undefined);
      t.same(await readUntil(runtime, id, () => false), { text: "", position: 0 });
    });

    await check("output, apart and in order, and the exit code", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.printing("out\n", "err\n", 7) }), image, "t1", soon());
      const exit = await runtime.waitExit(id, soon());
      t.match(exit, { exitCode: 7, oom: false });
      const streams: Record<string, string> = { stdout: "", stderr: "" };
      for await (const chunk of runtime.logs(id, { from: 0, follow: true, signal: soon() })) streams[chunk.stream] += Buffer.from(chunk.data).toString();
      t.same(streams, { stdout: "out\n", stderr: "err\n" });
      t.match(await runtime.inspect(id), { kind: "ended", exit: { exitCode: 7 }, runToken: "t1" });
      t.equal(await runtime.metrics(id), undefined, "what has ended uses nothing");
      t.same(await runtime.list(), [id]);
    });

    await check("one start per token", async (t) => {
      const id = newId();
      const wanted = spec(id, { command: commands.waiting() });
      await runtime.start(wanted, image, "t1", soon());
      const first = await runtime.inspect(id);
      await runtime.start(wanted, image, "t1", soon());
      t.same(await runtime.inspect(id), first, "the same process goes on");
      t.equal(await codeOf(runtime.start(wanted, image, "t2", soon())), "CONFLICT", "another token has to wait for the end");
      await runtime.kill(id, "SIGTERM");
      t.match(await runtime.waitExit(id, soon()), { exitCode: 143 });
      await runtime.start(wanted, image, "t1", soon());
      t.equal((await runtime.inspect(id)).kind, "ended", "the token is used up");
      await runtime.settle(id);
      await runtime.start(wanted, image, "t1", soon());
      t.equal((await runtime.inspect(id)).kind, "ended", "also after it was settled");
      await runtime.start(wanted, image, "t2", soon());
      t.match(await runtime.inspect(id), { kind: "running", runToken: "t2" });
      t.equal((await readUntil(runtime, id, (text) => text === "ready\nready\n")).text, "ready\nready\n", "the log of the first run is kept");
    });

    await check("signals", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.deaf() }), image, "t1", soon());
      await readUntil(runtime, id, (text) => text === "ready\n");
      await runtime.kill(id, "SIGTERM");
      const brief = AbortSignal.timeout(300);
      await t.rejects(runtime.waitExit(id, brief), "still there");
      t.equal((await runtime.inspect(id)).kind, "running");
      await runtime.kill(id, "SIGKILL");
      t.match(await runtime.waitExit(id, soon()), { exitCode: 137, oom: false });
      await runtime.kill(id, "SIGKILL");
    });

    await check("settled: the record and the log stay, nothing else", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.waiting() }), image, "t1", soon());
      t.equal(await codeOf(runtime.settle(id)), "IN_USE");
      await runtime.kill(id, "SIGKILL");
      const exit = await runtime.waitExit(id, soon());
      await runtime.settle(id);
      await runtime.settle(id);
      t.same(await runtime.waitExit(id, soon()), exit);
      t.match(await runtime.inspect(id), { kind: "ended", exit });
      t.equal((await readUntil(runtime, id, () => false)).text, "ready\n");
      t.ok(
        (await under.leftovers()).every((line) => line.startsWith("file")),
        "only files are left",
      );
    });

    await check("removed while it runs, and its readers end", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.waiting() }), image, "t1", soon());
      const reading = readUntil(runtime, id, () => false);
      await readUntil(runtime, id, (text) => text === "ready\n");
      await runtime.remove(id);
      t.equal((await reading).text, "ready\n");
      t.same(await runtime.inspect(id), { kind: "absent" });
      await runtime.remove(id);
    });

    await check("a start that cannot be leaves nothing", async (t) => {
      const id = newId();
      t.equal(await codeOf(runtime.start(spec(id, { command: commands.missing() }), image, "t1", soon())), "COMMAND_NOT_FOUND");
      t.same(await runtime.inspect(id), { kind: "absent" });
      t.equal(await codeOf(runtime.start(spec(id, { command: commands.notExecutable() }), image, "t2", soon())), "COMMAND_NOT_EXECUTABLE");
      t.equal(await codeOf(runtime.start(spec(id, { command: commands.waiting(), user: "nobody-knows" }), image, "t3", soon())), "BAD_REQUEST");
      t.same(await runtime.inspect(id), { kind: "absent" });
      t.same(await under.leftovers(), []);
      const unstored: Promise<void> = Promise.reject(new CcError("INTERNAL", "what had to be stored first was not"));
      unstored.catch(() => undefined);
      t.equal(await codeOf(runtime.start(spec(id, { command: commands.waiting() }), image, "t3", soon(), unstored)), "INTERNAL");
      t.same(await runtime.inspect(id), { kind: "absent" });
      t.same(await under.leftovers(), []);
      // The same token again is a new try: it was never used.
      await runtime.start(spec(id, { command: commands.printing("", "", 0) }), image, "t3", soon());
      t.match(await runtime.waitExit(id, soon()), { exitCode: 0 });
      t.equal(await codeOf(runtime.start(spec(id, { command: commands.missing() }), image, "t4", soon())), "COMMAND_NOT_FOUND");
      t.match(await runtime.inspect(id), { kind: "ended", exit: { exitCode: 0 }, runToken: "t3" }, "the run before is still known");
    });

    await check("an abandoned start", async (t) => {
      const id = newId();
      t.not(await codeOf(runtime.start(spec(id, { command: commands.waiting() }), image, "t1", AbortSignal.abort())), "no error");
      t.same(await runtime.inspect(id), { kind: "absent" });
    });

    await check("found again by the next runtime: running, its output, its exit", async (t) => {
      const id = newId();
      const ended = newId();
      await runtime.start(spec(ended, { command: commands.printing("done\n", "", 3) }), image, "e1", soon());
      await runtime.start(spec(id, { command: commands.ticking(200) }), image, "t1", soon());
      const seen = await readUntil(runtime, id, (text) => text.length > 50);
      const used = await runtime.metrics(id);
      await runtime.waitExit(ended, soon());
      runtime = await under.open();
      const usedNow = await runtime.metrics(id);
      t.ok(usedNow !== undefined && used !== undefined && usedNow.monotonicMs > used.monotonicMs && usedNow.startedAtMs === used.startedAtMs, "counted on");
      t.same(await runtime.list(), [id, ended].toSorted());
      t.match(await runtime.inspect(id), { kind: "running", runToken: "t1" });
      t.match(await runtime.waitExit(ended, soon()), { exitCode: 3 });
      const rest = await readUntil(runtime, id, () => false, seen.position);
      t.equal(seen.text + rest.text, "tick\n".repeat(200), "no line lost, none doubled");
      t.match(await runtime.waitExit(id, soon()), { exitCode: 0 });
    });

    await check("the last lines, and those since a time", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.printing("1\n2\n3\n4\nrest", "", 0) }), image, "t1", soon());
      await runtime.waitExit(id, soon());
      const read = async (more: { tail?: number; sinceMs?: number }): Promise<string> => {
        let text = "";
        for await (const chunk of runtime.logs(id, { from: 0, follow: false, signal: soon(), ...more })) text += Buffer.from(chunk.data).toString();
        return text;
      };
      t.equal(await read({}), "1\n2\n3\n4\nrest");
      t.equal(await read({ tail: 2 }), "4\nrest");
      t.equal(await read({ tail: 0 }), "");
      const reader = runtime.logs(id, { from: 0, follow: false, signal: soon(), tail: 2 })[Symbol.asyncIterator]();
      const begin = await reader.next();
      await reader.return?.();
      t.equal(begin.done === true ? undefined : begin.value.data.length, 0, "first where it begins");
      t.equal((await readUntil(runtime, id, () => false, begin.done === true ? 0 : begin.value.position)).text, "4\nrest");
      t.equal(await read({ tail: 100 }), "1\n2\n3\n4\nrest");
      t.equal(await read({ sinceMs: 1 }), "1\n2\n3\n4\nrest");
      t.equal(await read({ sinceMs: Date.now() + 60_000 }), "");
    });

    await check("readers are counted", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.waiting() }), image, "t1", soon());
      t.equal(runtime.readers(id), 0);
      const reader = runtime.logs(id, { from: 0, follow: true, signal: soon() })[Symbol.asyncIterator]();
      await reader.next();
      t.equal(runtime.readers(id), 1);
      await reader.return?.();
      t.equal(runtime.readers(id), 0);
    });

    await check("standard input", async (t) => {
      const id = newId();
      await runtime.start(spec(id, { command: commands.echoing(), stdinOpen: true }), image, "t1", soon());
      const input = await runtime.stdin(id);
      await input.write(Buffer.from("hello\n"));
      t.equal((await readUntil(runtime, id, (text) => text.includes("\n"))).text, "hello\n");
      const large = Buffer.alloc(1_000_000, "x");
      await input.write(large);
      await input.end();
      t.match(await runtime.waitExit(id, soon()), { exitCode: 0 });
      t.equal((await readUntil(runtime, id, () => false)).text.length, 6 + large.length, "every byte arrives");
      t.equal(await codeOf(runtime.stdin(id)), "NOT_RUNNING");
    });
  });
}
