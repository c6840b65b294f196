import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type BenchLab, TOP } from "../bench-lab.ts";
import type { Cleanup } from "../cleanup.ts";
import { number, type Result } from "../report.ts";
import { answers, Ssh } from "../ssh.ts";
import { median, percentile, turnOrder } from "../statistics.ts";
import { outputOf, timedRun } from "../timed-run.ts";

const BYTES = 256 * 1024 ** 2;
const ROUND_TRIPS = 500;
const CONNECTIONS = 200;
/** Connections at once while they are counted. */
const AT_ONCE = 8;
const SERVER_PORT = 7_000;
const FIRST_PORT = 17_100;
const BUDGET = 1.5;
const SERVER = join(TOP, "test/bench/tunnel-server.ts");

/** By the number of the host that is spoken to. */
const THROUGH: Readonly<Record<number, string>> = { 1: "at the container's host", 2: "through another host" };

/** `against`: which way is the same of ssh's. */
type Way = { readonly name: string; readonly host: string; readonly port: number; readonly against?: number };
type Found = { readonly upMBs: number[]; readonly downMBs: number[]; readonly roundTripUs: number[]; readonly perSecond: number[] };

/**
 * A port of a container on host 1: straight, by socat, and by `ssh -L` and by `cc` through that host and through another. Behind the
 * other host `ssh` goes on in the clear, to a port that a container has to open for that; `cc` is encrypted on both ways.
 */
export async function benchTunnel(lab: BenchLab, image: string, runs: number, cleanup: Cleanup, signal: AbortSignal): Promise<Result> {
  const children: ChildProcess[] = [];
  cleanup.add("tunnels", async () => {
    for (const child of children) child.kill("SIGKILL");
  });
  const { endpoint } = await lab.host(1);
  const address = new URL(endpoint).hostname;
  const ran = await timedRun(await lab.cc(["run", "--detach", "--name", "tunnelled", "--host", "h1", "--image", image, "sleep", "100000"]), signal);
  const namespace = `/run/cc/containers/${ran.stdout.trim()}/net`;
  await started(lab, signal);
  children.push(lab.startOn(1, process.execPath, SERVER, "0.0.0.0", String(SERVER_PORT)));
  children.push(lab.startOn(1, "nsenter", `--net=${namespace}`, process.execPath, SERVER, "127.0.0.1", String(SERVER_PORT)));
  await answers(address, SERVER_PORT, signal);
  const viaSocat = FIRST_PORT;
  const socat = ["socat", "-b", "65536", `TCP-LISTEN:${viaSocat},bind=127.0.0.1,fork,reuseaddr,nodelay`, `TCP:${address}:${SERVER_PORT},nodelay`];
  children.push(spawn("setpriv", ["--pdeathsig", "KILL", ...socat], { stdio: "ignore" }));
  await answers("127.0.0.1", viaSocat, signal);
  const ways: Way[] = [
    { name: "straight", host: address, port: SERVER_PORT },
    { name: "socat", host: "127.0.0.1", port: viaSocat },
  ];
  const ssh = new Ssh(lab, signal);
  for (const host of [1, 2]) {
    const port = FIRST_PORT + host;
    const target = `${host === 1 ? "127.0.0.1" : address}:${SERVER_PORT}`;
    await ssh.forward(host, new URL((await lab.host(host)).endpoint).hostname, port, target, cleanup);
    ways.push({ name: `ssh -L, ${THROUGH[host]}`, host: "127.0.0.1", port });
  }
  for (const host of [1, 2]) {
    const port = FIRST_PORT + 2 + host;
    const words = ["local-remote", "serve", "--container-id", "tunnelled", "--container-port", String(SERVER_PORT), "--bind", `127.0.0.1:${port}`];
    const { argv, env } = await lab.cc(words, host);
    const [program = "", ...args] = argv;
    children.push(spawn(program, args, { stdio: ["ignore", "ignore", "inherit"], env: { PATH: process.env["PATH"] ?? "", ...env } }));
    await answers("127.0.0.1", port, signal);
    ways.push({ name: `cc, ${THROUGH[host]}`, host: "127.0.0.1", port, against: ways.length - 2 });
  }
  const found = ways.map((): Found => ({ upMBs: [], downMBs: [], roundTripUs: [], perSecond: [] }));
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(ways.length, turn)) {
      const [way, values] = [ways[index], found[index]];
      if (way === undefined || values === undefined) continue;
      signal.throwIfAborted();
      values.upMBs.push(await up(way));
      values.downMBs.push(await down(way));
      values.roundTripUs.push(...(await roundTrips(way)));
      values.perSecond.push(await connections(way));
    }
  }
  for (const child of children) child.kill("SIGKILL");
  await timedRun(await lab.cc(["rm", "--force", "tunnelled"]), signal);
  return report(ways, found);
}

function report(ways: readonly Way[], found: readonly Found[]): Result {
  const ratio = (index: number, of: "upMBs" | "downMBs"): number | undefined => {
    const [values, ssh] = [found[index]?.[of], found[ways[index]?.against ?? Number.NaN]?.[of]];
    return values === undefined || ssh === undefined ? undefined : median(values) / median(ssh);
  };
  const rows = ways.map(({ name }, index) => {
    const values = found[index];
    if (values === undefined) throw new RangeError(name);
    const { roundTripUs, perSecond } = values;
    const throughput = (["upMBs", "downMBs"] as const).map((of) => {
      const share = ratio(index, of);
      return `${number(median(values[of]))}${share === undefined ? "" : ` (${number(share)})`}`;
    });
    return [name, ...throughput, `${number(median(roundTripUs))} / ${number(percentile(roundTripUs, 0.99))}`, number(median(perSecond))];
  });
  const cases = ways.flatMap((_, index) => [ratio(index, "upMBs") ?? [], ratio(index, "downMBs") ?? []].flat());
  const least = Math.min(...cases);
  return {
    part: "tunnel",
    title: `A container's port, ${BYTES / 1024 ** 2} MiB each way, one connection`,
    columns: ["way", "up, MB/s (of ssh)", "down, MB/s (of ssh)", "64 bytes there and back, µs, p50 / p99", "new connections a second"],
    rows,
    notes: [`Budget ${BUDGET} of \`ssh -L\`: the least of the four is ${number(least)}, which ${least >= BUDGET ? "holds" : "falls short"}.`],
    values: Object.fromEntries(
      ways.flatMap(({ name }, index) => Object.entries(found[index] ?? {}).map(([what, values]): [string, readonly number[]] => [`${name}, ${what}`, values])),
    ),
  };
}

async function started(lab: BenchLab, signal: AbortSignal): Promise<void> {
  const { argv, env } = await lab.cc(["status", "tunnelled", "--json"]);
  for (let look = 0; look < 100; look += 1) {
    const [container]: { phase: string }[] = JSON.parse(await outputOf(argv, signal, env));
    if (container?.phase === "running") return;
  }
  throw new Error("the container does not run");
}

async function open(way: Way): Promise<Socket> {
  const socket = connect({ host: way.host, port: way.port, allowHalfOpen: true, noDelay: true });
  await once(socket, "connect");
  return socket;
}

const perSecond = (bytes: number, startedMs: number): number => bytes / 1_000 / (performance.now() - startedMs);

async function up(way: Way): Promise<number> {
  const socket = await open(way);
  const block = Buffer.alloc(64 * 1024, 7);
  const over = once(socket.resume(), "end");
  const startedMs = performance.now();
  socket.write("u");
  for (let sent = 0; sent < BYTES; sent += block.length) if (!socket.write(block)) await once(socket, "drain");
  socket.end();
  await over;
  return perSecond(BYTES, startedMs);
}

async function down(way: Way): Promise<number> {
  const socket = await open(way);
  const startedMs = performance.now();
  socket.write(`d${BYTES};`);
  let got = 0;
  socket.on("data", (chunk: Buffer) => {
    got += chunk.length;
  });
  await once(socket, "end");
  const rate = perSecond(got, startedMs);
  socket.end();
  if (got !== BYTES) throw new Error(`${way.name} gave ${got} of ${BYTES} bytes`);
  return rate;
}

async function roundTrips(way: Way): Promise<number[]> {
  const socket = await open(way);
  const question = Buffer.alloc(64, 1);
  const times: number[] = [];
  socket.write("e");
  for (let at = 0; at < ROUND_TRIPS; at += 1) {
    const startedMs = performance.now();
    socket.write(question);
    for (let got = 0; got < question.length; ) got += ((await once(socket, "data")) as [Buffer])[0].length;
    times.push((performance.now() - startedMs) * 1_000);
  }
  socket.destroy();
  return times;
}

/** Connections made, answered and ended, some at a time. */
async function connections(way: Way): Promise<number> {
  let left = CONNECTIONS;
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (; left > 0; left -= 1) {
        const socket = await open(way);
        socket.write("ex");
        await once(socket, "data");
        socket.end();
        await once(socket.resume(), "close");
      }
    }),
  );
  return (CONNECTIONS * 1_000) / (performance.now() - startedMs);
}
