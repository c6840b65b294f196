import { createHash } from "node:crypto";
import t, { type Test } from "tap";
import { asCcError, type ContainerId } from "../../../src/base/index.ts";
import { type ContainerRuntime, EXECS_MAX, type ExecProcess, type ExecSpec } from "../../../src/containers/index.ts";
import type { RuntimeUnderTest } from "./runtime-contract.ts";

const soon = (): AbortSignal => AbortSignal.timeout(30_000);

export type Ran = { readonly exitCode: number; readonly withContainer: boolean; readonly stdout: Buffer; readonly stderr: string };

export function execSpec(command: readonly string[], more: Partial<ExecSpec> = {}): ExecSpec {
  return { command, env: {}, user: "", dir: "", stdin: false, ...more };
}

t.setTimeout(180_000);

/** All that it writes, and how it ended; `slowly`: its reader takes so long over each chunk. */
export async function finish(exec: ExecProcess, slowly = 0): Promise<Ran> {
  const chunks = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  for await (const { stream, data } of exec.output()) {
    chunks[stream].push(data);
    if (slowly > 0) await new Promise((resolve) => setTimeout(resolve, slowly));
  }
  return { ...(await exec.exit), stdout: Buffer.concat(chunks.stdout), stderr: Buffer.concat(chunks.stderr).toString() };
}

const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");

/** The part of ContainerRuntime's contract that is about further processes. The image has busybox. */
export function describeContainerExec(name: string, make: () => Promise<RuntimeUnderTest>): void {
  t.test(`${name} keeps the contract of further processes`, async (t) => {
    const under = await make();
    t.teardown(() => under.close());
    let runtime = await under.open();
    const begin = async (more: Parameters<RuntimeUnderTest["spec"]>[1] = {}): Promise<ContainerId> => {
      const id = under.newId();
      await runtime.start(under.spec(id, { command: under.commands.deaf(), ...more }), under.image, "t1", soon());
      return id;
    };
    const run = async (id: ContainerId, command: readonly string[], more: Partial<ExecSpec> = {}): Promise<Ran> =>
      finish(await runtime.exec(id, execSpec(command, more), soon()));
    const refusal = (work: Promise<unknown>): Promise<{ code: string; message: string }> => work.then(() => ({ code: "none", message: "" }), asCcError);
    const check = (what: string, body: (t: Test) => Promise<void>): Promise<unknown> =>
      t.test(what, async (t) => {
        await body(t);
        for (const id of await runtime.list()) await runtime.remove(id);
        t.same(await under.leftovers(), [], "nothing is left");
      });

    await check("output apart, exit codes, what it is given", async (t) => {
      const id = await begin({ env: { COLOUR: "blue", SHAPE: "round" } });
      const both = await run(id, ["sh", "-c", "printf 'o\\0ut'; printf err >&2; exit 7"]);
      t.match(both, { exitCode: 7, withContainer: false, stderr: "err" });
      t.same(both.stdout, Buffer.from("o\0ut"));
      t.equal((await run(id, ["sh", "-c", "kill -9 $$"])).exitCode, 137);
      t.equal((await run(id, ["true"])).exitCode, 0);
      t.equal((await run(id, ["sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr"], { user: "1000" })).stderr, "b\n", "its output can be opened by name");
      const env = String((await run(id, ["env"], { env: { COLOUR: "red", NEW: "a=b c" } })).stdout);
      for (const line of ["FROM_IMAGE=yes", "COLOUR=red", "SHAPE=round", "NEW=a=b c", "HOME=/root", "PATH=/bin"]) t.match(env, new RegExp(`^${line}$`, "m"));
      t.equal(
        String((await run(id, ["sh", "-c", "id; echo $HOME"], { user: "alice" })).stdout),
        "uid=1000(alice) gid=1001(alice) groups=10(wheel)\n/home/alice\n",
      );
      t.match(String((await run(id, ["id"], { user: "70000:12" })).stdout), "uid=70000 gid=12\n");
      t.equal(String((await run(id, ["pwd"], { dir: "/home//alice/" })).stdout), "/home/alice\n");
      t.equal(String((await run(id, ["cat"])).stdout), "", "without input there is an end at once");
    });

    await check("what cannot be run, by the words of what it is", async (t) => {
      const id = await begin();
      for (const [command, more, code] of [
        [["no-such"], {}, "COMMAND_NOT_FOUND"],
        [["/no/such"], {}, "COMMAND_NOT_FOUND"],
        [["/etc/passwd/x"], {}, "COMMAND_NOT_FOUND"],
        [["/etc/not-executable"], {}, "COMMAND_NOT_EXECUTABLE"],
        [["/etc/garbage"], {}, "COMMAND_NOT_EXECUTABLE"],
        [["/etc"], {}, "COMMAND_NOT_EXECUTABLE"],
        [["true"], { dir: "/no/dir" }, "BAD_REQUEST"],
        [["true"], { dir: "/etc/passwd" }, "BAD_REQUEST"],
        [["true"], { user: "daemon" }, "BAD_REQUEST"],
        [["true"], { env: { LONG: "x".repeat(200_000) } }, "TOO_LARGE"],
      ] as const) {
        const chunks: string[] = [];
        const outcome = await refusal(
          (async () => {
            const exec = await runtime.exec(id, execSpec(command, more), soon());
            for await (const { data } of exec.output()) chunks.push(String(data));
            await exec.exit;
          })(),
        );
        t.match(outcome, { code }, `${command[0]} ${JSON.stringify(more).slice(0, 40)}: ${outcome.message}`);
        t.same(chunks, [], "the runtime's own complaint is not the command's output");
      }
      t.match(await refusal(runtime.exec(under.newId(), execSpec(["true"]), soon())), { code: "NOT_RUNNING" });
      await runtime.kill(id, "SIGKILL");
      await runtime.waitExit(id, soon());
      t.match(await refusal(runtime.exec(id, execSpec(["true"]), soon())), { code: "NOT_RUNNING" });
    });

    await check("input that ends before the process has begun is an end for it all the same", async (t) => {
      const id = await begin();
      const ended = async (): Promise<number> => {
        const exec = await runtime.exec(id, execSpec(["cat"], { stdin: true }), soon());
        await exec.endInput();
        return (await finish(exec)).exitCode;
      };
      // Side by side, so that some process begins later than its input's end is said.
      for (let round = 0; round < 4; round += 1) t.same(await Promise.all(Array.from({ length: 8 }, ended)), Array(8).fill(0));
    });

    await check("10 MB both ways, a slow reader, a process that does not read", async (t) => {
      const id = await begin();
      const data = Buffer.alloc(10_000_000, "0123456789abcdef\n");
      const pass = async (command: readonly string[], slowly = 0): Promise<Ran> => {
        const exec = await runtime.exec(id, execSpec(command, { stdin: true }), soon());
        const writing = (async () => {
          for (let at = 0; at < data.length; at += 65_536) await exec.write(data.subarray(at, at + 65_536));
          await exec.endInput();
        })();
        const ran = await finish(exec, slowly);
        await writing;
        return ran;
      };
      t.equal(sha256((await pass(["cat"])).stdout), sha256(data));
      t.equal(sha256((await pass(["cat"], 3)).stdout), sha256(data), "to a slow reader too");
      t.match(await pass(["sh", "-c", "usleep 200000; exec true"]), { exitCode: 0 }, "who writes to one that reads nothing is let go");
      const exec = await runtime.exec(id, execSpec(["sh", "-c", "yes & sleep 30"]), soon());
      await exec.output()[Symbol.asyncIterator]().next();
      await new Promise((resolve) => setTimeout(resolve, 300));
      const before = process.memoryUsage().rss;
      await new Promise((resolve) => setTimeout(resolve, 700));
      t.ok(process.memoryUsage().rss - before < 20_000_000, "what nobody reads stays in its process");
      await exec.end();
      const background = await finish(await runtime.exec(id, execSpec(["sh", "-c", "sleep 60 & echo done"]), soon()));
      t.equal(String(background.stdout), "done\n", "what it leaves in the background does not hold it open");
    });

    await check("signals, and its end", async (t) => {
      const id = await begin();
      for (const [signal, code] of [
        ["SIGINT", 130],
        ["SIGQUIT", 131],
        ["SIGTERM", 143],
        ["SIGKILL", 137],
      ] as const) {
        const exec = await runtime.exec(id, execSpec(["sleep", "60"]), soon());
        await exec.kill(signal);
        t.match(await finish(exec), { exitCode: code, withContainer: false }, signal);
      }
      const caught = await runtime.exec(id, execSpec(["sh", "-c", "trap 'echo caught; exit 5' HUP; echo ready; while :; do usleep 20000; done"]), soon());
      const reading = caught.output()[Symbol.asyncIterator]();
      await reading.next();
      await caught.kill("SIGHUP");
      t.equal(String((await reading.next()).value?.data), "caught\n");
      t.match(await caught.exit, { exitCode: 5 });

      const stubborn = await runtime.exec(id, execSpec(["sh", "-c", "trap '' HUP TERM INT; sleep 77 & echo ready; sleep 77; sleep 77"]), soon());
      await stubborn.output()[Symbol.asyncIterator]().next();
      t.equal(await sleepers(runtime, id), 2);
      await stubborn.end();
      await stubborn.end();
      t.equal(await sleepers(runtime, id), 0, "nothing of it runs on, also what it had begun");
      t.match(await stubborn.exit, { exitCode: 137 });
      const aborted = new AbortController();
      aborted.abort(new Error("enough"));
      await t.rejects(runtime.exec(id, execSpec(["sleep", "77"]), aborted.signal), { message: "enough" });
      t.equal(await sleepers(runtime, id), 0);
    });

    await check("it ends with its container, and there is a limit", async (t) => {
      const id = await begin({ pidsMax: 1024, memoryBytes: 512 * 1024 ** 2 });
      const exec = await runtime.exec(id, execSpec(["sh", "-c", "echo ready; sleep 60"]), soon());
      await exec.output()[Symbol.asyncIterator]().next();
      await runtime.kill(id, "SIGKILL");
      t.match(await exec.exit, { exitCode: 137, withContainer: true });
      await exec.end();
      const other = await begin({ pidsMax: 1024, memoryBytes: 512 * 1024 ** 2 });
      const many = await Promise.all(Array.from({ length: EXECS_MAX }, () => runtime.exec(other, execSpec(["sleep", "60"]), soon())));
      t.match(await refusal(runtime.exec(other, execSpec(["true"]), soon())), { code: "LIMIT" });
      await many[0]?.kill("SIGTERM");
      await many[0]?.exit;
      t.match(await run(other, ["true"]), { exitCode: 0 }, "there is room again");
      await Promise.all(many.map((one) => one.kill("SIGKILL")));
      await Promise.all(many.map((one) => one.exit));
    });

    await check("a peer that stops, and the one after it", async (t) => {
      const id = await begin();
      const exec = await runtime.exec(id, execSpec(["sh", "-c", "sleep 77 & echo ready; sleep 77"]), soon());
      await exec.output()[Symbol.asyncIterator]().next();
      runtime = await under.open();
      t.match(await exec.exit, { exitCode: 129 }, "its stop ends what was run through it");
      t.equal(await sleepers(runtime, id), 0);
      t.match(await run(id, ["true"]), { exitCode: 0 });
    });
  });
}

/** How many of the tests' own commands still run in the container. */
async function sleepers(runtime: ContainerRuntime, id: ContainerId): Promise<number> {
  const { stdout } = await finish(await runtime.exec(id, execSpec(["sh", "-c", "ps -o args | grep -c '^sleep 7[7]'"]), soon()));
  return Number(String(stdout));
}
