import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { eventually, type TestLab, withLab } from "./lab.ts";
import { ask, dial, download, LocalPort, upload } from "./tunnel-client.ts";
import { anything, sumOf } from "./tunnel-pattern.ts";

const MIB = 1024 * 1024;
/** Each way. `npm run test:tunnel` sends 1 GiB. */
const BYTES = Number(process.env["CC_TEST_TUNNEL_BYTES"] ?? 64 * MIB);
const CONNECTIONS = 200;
const TOP = join(import.meta.dirname, "../..");
const PROGRAM = join(import.meta.dirname, "tunnel-program.ts");
/** Ports of the program: on the container's loopback by IPv4 and by IPv6 alone. */
const PORT = 7_000;
const PORT6 = 7_001;
/** What the container itself runs: a server of one page. */
const HTTP = 80;

type Host = { readonly name: string; readonly state: string };

async function serve(
  lab: TestLab,
  container: string,
  port: number,
  options: { host?: number; bind?: string; env?: Record<string, string>; words?: string[] } = {},
): Promise<LocalPort> {
  const words = [
    "local-remote",
    "serve",
    "--container-id",
    container,
    "--container-port",
    String(port),
    "--bind",
    options.bind ?? "0",
    ...(options.words ?? []),
  ];
  return new LocalPort(await lab.start(words, { host: options.host ?? 1, ...(options.env === undefined ? {} : { env: options.env }) }));
}

const residentKib = (pid: number | undefined): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);

const textOf = (file: string): string => {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return ""; // The process has ended meanwhile.
  }
};

/** Resolves when the other side has ended or reset it. */
const endOf = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once("end", resolve).once("close", resolve));

/** Whether the container's own server is reached. */
const answered = async (port: LocalPort): Promise<boolean> => (await ask(port, "GET / HTTP/1.0\r\n\r\n"))?.includes("served from inside") === true;

/** Processes of this checkout that make connections inside containers (a lab has one for each container with tunnels). */
function connectors(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && textOf(`/proc/${name}/cmdline`).includes(join(TOP, "dist/src/tunnel/drivers/netns-connector.js")))
    .map(Number);
}

withLab("tunnels to containers", { hosts: 3, zones: "a,a,a" }, async (t, lab) => {
  const image = await lab.image();
  const words = ["--", "sh", "-c", `echo served from inside >/tmp/index.html; httpd -f -p ${HTTP} -h /tmp`];
  const run = await lab.cc(["run", "--detach", "--name", "web", "--host", "h1", "--image", image, ...words]);
  const id = run.stdout.trim();
  t.equal(run.code, 0, run.stderr);
  await eventually("it runs", async () => (await lab.json<{ phase: string }[]>(["status", "web"]))[0]?.phase === "running");
  const program: ChildProcess = lab.startOn(
    1,
    "nsenter",
    `--net=/run/cc/containers/${id}/net`,
    process.execPath,
    PROGRAM,
    "127.0.0.1",
    String(PORT),
    "::1",
    String(PORT6),
  );
  if (program.stdout === null) throw new Error("the program has no output");
  await once(program.stdout, "data");

  await t.test("what is refused, and how", async (t) => {
    const serving = (...more: string[]) => lab.cc(["local-remote", "serve", "--container-id", "web", "--container-port", String(PORT), ...more]);
    t.match(await lab.cc(["local-remote", "serve", "--container-id", "nobody", "--container-port", "80", "--bind", "0"]), {
      code: 1,
      stdout: "",
      stderr: /^Error \[NOT_FOUND\]/,
    });
    t.match(await serving("--bind", "80:80"), { code: 2, stdout: "", stderr: /BAD_USAGE.*port 0 picks a free one/ });
    t.match(await serving("--bind", "0", "--container-port", "70000"), { code: 2, stdout: "" });
    t.match(await serving(), { code: 2 });
    t.match(await serving("--bind", "203.0.113.1:80"), { code: 1, stdout: "", stderr: /^Error \[BAD_REQUEST\]: .*no address of this machine/ });
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = taken.address();
    const at = typeof address === "object" && address !== null ? `127.0.0.1:${address.port}` : "";
    t.match(await serving("--bind", at), { code: 1, stdout: "", stderr: new RegExp(`^Error \\[IN_USE\\]: ${at} is in use`) });
    taken.close();
    const made = await lab.cc(["key", "create", "--role", "viewer", "--name", "eve"]);
    const env = Object.fromEntries([...made.stdout.matchAll(/(CC_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]));
    const refused = await lab.cc(["local-remote", "serve", "--container-id", "web", "--container-port", String(PORT), "--bind", "0"], { env });
    t.match(refused, { code: 1, stdout: "", stderr: /^Error \[FORBIDDEN\]: .*operator/ });
  });

  await t.test("through each peer, to loopback by IPv4 and IPv6, bound to each of them; one line where nothing listens", async (t) => {
    for (const host of [1, 2, 3]) {
      for (const [port, bind] of [
        [PORT, "127.0.0.1:0"],
        [PORT6, "[::1]:0"],
        [PORT, "[::]:0"],
      ] as const) {
        const local = await serve(lab, host === 2 ? id : "web", port, { host, bind });
        t.equal((await local.at()).host, bind.startsWith("127") ? "127.0.0.1" : bind.startsWith("[::1]") ? "::1" : "::");
        const said = anything();
        t.equal(await ask(local, `echo\n${said}`), said, `host ${host}, ${bind}`);
        t.equal(await local.interrupt(), 0, "its end is what was asked for");
        t.equal(local.stderr, "");
      }
    }
    const closed = await serve(lab, "web", 81, { host: 2, words: ["--json"] });
    const { address, port, container } = JSON.parse(await closed.until(/\{[\s\S]*\}/, "stdout"));
    t.match({ address, container }, { address: "127.0.0.1", container: id });
    closed.stdout = `127.0.0.1:${port}\n`;
    for (let at = 0; at < 20; at += 1) t.equal(await ask(closed, "x"), undefined, "reset");
    t.equal(closed.stderr.trim().split("\n").length, 1, closed.stderr);
    t.match(closed.stderr, /nothing listens on port 81 in web/);
    await closed.interrupt();
  });

  for (const host of [1, 2]) {
    await t.test(`much, many and half-closed, through host ${host}`, async (t) => {
      const local = await serve(lab, "web", PORT, { host });
      const whole = sumOf(BYTES);
      const startedMs = performance.now();
      t.equal(await upload(local, BYTES), whole, `${BYTES} bytes up, and the answer after the end`);
      t.equal(await download(local, BYTES).catch(() => `${local.faults}${local.stderr}`), whole, "and down");
      t.comment(`${Math.round((2 * BYTES) / 1_000 / (performance.now() - startedMs))} MB/s`);
      const said = Array.from({ length: CONNECTIONS }, anything);
      const sockets = await Promise.all(said.map(() => dial(local)));
      const echoes = await Promise.all(
        sockets.map(async (socket, at) => {
          const chunks: Buffer[] = [];
          socket.on("data", (chunk: Buffer) => chunks.push(chunk));
          socket.write("echo\n");
          socket.end(said[at] ?? "");
          await once(socket, "close");
          return Buffer.concat(chunks).toString("latin1");
        }),
      );
      t.same(echoes, said, `${CONNECTIONS} connections, each with its own`);
      const half = await dial(local);
      half.write("last\n");
      await once(half.resume(), "end");
      half.end("said after the program's end");
      await once(half, "close");
      const late = createHash("sha256").update("said after the program's end").digest("hex");
      await eventually("what was said after the program's end arrived", async () => (await ask(local, "heard\n")) === late);
      t.equal(await local.interrupt(), 0);
      t.equal(local.stderr, "");
    });
  }

  await t.test("a program that does not read: memory stays bounded, others go on", async (t) => {
    const local = await serve(lab, "web", PORT, { host: 2 });
    await ask(local, "echo\nwarm");
    const pids = { cc: local.child.pid, h1: await lab.peerPid(1), h2: await lab.peerPid(2), connector: connectors()[0] };
    const before = Object.entries(pids).map(([, pid]) => residentKib(pid));
    const deaf = await Promise.all(Array.from({ length: 20 }, () => dial(local)));
    const block = Buffer.alloc(MIB, 1);
    for (const socket of deaf) {
      socket.write("deaf\n");
      for (let at = 0; at < 16; at += 1) socket.write(block);
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    t.equal(await download(local, 8 * MIB), sumOf(8 * MIB), "another connection is served meanwhile");
    const waiting = deaf.reduce((sum, socket) => sum + socket.writableLength, 0);
    // The kernel takes some megabytes a connection by itself.
    t.ok(waiting > 100 * MIB, `${Math.round(waiting / MIB)} of 320 MiB were not taken from who sends`);
    for (const [at, [name, pid]] of Object.entries(pids).entries()) {
      const grownMib = (residentKib(pid) - (before[at] ?? 0)) / 1024;
      t.comment(`${name}: ${Math.round(residentKib(pid) / 1024)} MiB resident, ${Math.round(grownMib)} more than before`);
      t.ok(grownMib < 128, `${name} grew by ${Math.round(grownMib)} MiB`);
    }
    for (const socket of deaf) socket.resetAndDestroy();
    t.equal(await local.interrupt(), 0);
  });

  await t.test("the container stops and starts", async (t) => {
    const local = await serve(lab, "web", HTTP, { host: 3 });
    await eventually("its own program answers", async () => await answered(local));
    const open = await dial(local);
    open.resume();
    t.ok(await answered(local), "beside one that stays open");
    const over = endOf(open);
    t.equal((await lab.cc(["stop", "--timeout", "1s", "web"])).code, 0);
    await over;
    await local.until(/web does not run \(it ended with \d+\)/, "stderr");
    t.notOk(await answered(local), "refused");
    t.equal(connectors().length, 0, "nothing is kept in the namespace of a stopped container");
    const waits = await serve(lab, "web", HTTP, { host: 1 });
    await waits.at();
    t.match(waits.stderr, /web does not run/, "it says so, and waits");
    t.equal((await lab.cc(["start", "web"])).code, 0);
    for (const one of [local, waits]) {
      await one.until(/web is reached/, "stderr");
      await eventually("it is served again", async () => await answered(one));
    }
    const lines = local.stderr.trim().split("\n");
    t.ok(lines.length <= 6, local.stderr);
    t.equal(await waits.interrupt(), 0);
    const last = await dial(local);
    last.resume();
    t.ok(await answered(local));
    local.child.kill("SIGTERM");
    await local.until(/1 open connections/, "stderr");
    local.child.kill("SIGTERM");
    t.equal(await local.ended, 0, "a second interruption ends it at once");
  });

  await t.test("peers die", async (t) => {
    const [two, three] = [await lab.environment(2), await lab.environment(3)];
    const local = await serve(lab, "web", HTTP, { env: { CC_ENDPOINT_URL: `${two["CC_ENDPOINT_URL"]},${three["CC_ENDPOINT_URL"]}` } });
    const alone = await serve(lab, "web", HTTP, { host: 2 });
    for (const one of [local, alone]) t.ok(await answered(one));
    const open = await dial(local);
    open.resume();
    t.ok(await answered(local), "beside one that stays open");
    const over = endOf(open);
    await lab.on(2, "kill", "-9", String(await lab.peerPid(2)));
    await over;
    await eventually("it goes on through the other", async () => await answered(local));
    t.match(local.stderr, /the way to web was lost/);
    t.notMatch(local.stderr, /cannot be reached/);
    await alone.until(/web cannot be reached/, "stderr");
    t.notOk(await answered(alone));
    await lab.must("restart", "2");
    await alone.until(/web is reached/, "stderr");
    await eventually("the restarted peer leads there again", async () => await answered(alone));
    // The host's own peer: the container runs on, and nothing of the dead peer stays in its namespace.
    await lab.on(1, "kill", "-9", String(await lab.peerPid(1)));
    await eventually("its connector is gone", async () => connectors().length === 0);
    await local.until(/web cannot be reached/, "stderr", 60_000);
    await lab.must("restart", "1");
    await eventually(
      "all hosts are alive",
      async () => (await lab.json<Host[]>(["host", "list"], { host: 3 })).every(({ state }) => state === "alive"),
      30_000,
    );
    await eventually("and served once more", async () => await answered(local), 30_000);
    for (const one of [local, alone]) t.equal(await one.interrupt(), 0);
    t.comment(local.stderr);
  });

  await t.test("the container is removed: that will not pass", async (t) => {
    const local = await serve(lab, "web", HTTP, { host: 2 });
    t.ok(await answered(local));
    t.equal((await lab.cc(["rm", "--force", "web"])).code, 0);
    t.equal(await local.ended, 1);
    t.match(local.stderr, /^Error \[NOT_FOUND\]/m);
  });
  program.stdin?.end();
});
