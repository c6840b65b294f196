import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { eventually, type Outcome, type TestLab, withLab } from "../e2e/lab.ts";
import { LocalPort } from "../e2e/tunnel-client.ts";
import { DATA, DATABASE, PASSWORD, PostgresClient, printedInto, unpackPostgres } from "./postgres.ts";
import { LedgerWriter } from "./postgres-ledger.ts";

type Container = { readonly id: string; readonly phase: string; readonly hostName: string; readonly restarts?: number; readonly startedAtMs?: number };
type Metrics = { readonly cpu: { usedSeconds: number }; readonly memory: { usedBytes: number; limitBytes: number }; readonly pids: { current: number } };

const PORT = 5432;
const SCALE = 10;
const ROWS = 100_000 * SCALE;
const CLIENTS = 16;
const SECONDS = 4;
const WRITERS = 8;
const RUN_MS = 120_000;
const PGBENCH = ["--no-vacuum", "--client", String(CLIENTS), "--jobs", "2", "--time", String(SECONDS)];
const numberOf = (host: string): number => Number(host.slice(1));

/** Transactions a second, without what connecting took; the number of them; those that failed. */
function figures(output: string): { readonly tps: number; readonly processed: number; readonly failed: number } {
  const read = (pattern: RegExp): number => Number(pattern.exec(output)?.[1]);
  return {
    tps: read(/^tps = ([\d.]+)/m),
    processed: read(/^number of transactions actually processed: (\d+)/m),
    failed: read(/^number of failed transactions: (\d+)/m),
  };
}

class Database {
  readonly #lab: TestLab;
  constructor(lab: TestLab) {
    this.#lab = lab;
  }

  run(image: string, ...words: readonly string[]): Promise<Outcome> {
    return this.#lab.cc(["run", "--detach", "--name", "db", "--memory", "1g", "--restart", "always", "--image", image, ...words], { timeoutMs: RUN_MS });
  }

  async seen(host = 1): Promise<Container> {
    const [seen] = await this.#lab.json<Container[]>(["status", "db"], { host });
    if (seen === undefined) throw new Error("no status of db");
    return seen;
  }

  exec(...command: readonly string[]): Promise<Outcome> {
    return this.#lab.cc(["exec", "--user", "postgres", "db", "--", ...command], { timeoutMs: RUN_MS });
  }

  /** By the server's socket in the container. */
  inside(sql: string): Promise<Outcome> {
    return this.exec("psql", "-XAtqc", sql, DATABASE);
  }
}

withLab("PostgreSQL in a container, its own clients through a tunnel", { hosts: 3, zones: "a,a,a", disk: "20g" }, async (t, lab) => {
  const work = join(lab.folder, "test/postgres");
  mkdirSync(work, { recursive: true });
  const postgres = await unpackPostgres(work);
  const db = new Database(lab);
  const pushed = await lab.json<{ reference: string; copies: number }>(["image", "push", postgres.image, "--name", "postgres"], { timeoutMs: RUN_MS });
  const environment = ["--env", `POSTGRES_PASSWORD=${PASSWORD}`, "--env", `POSTGRES_DB=${DATABASE}`];
  const volume = ["--volume", `data:${DATA}`];

  await t.test("started as people do: its entry point is root, prepares the volume and becomes postgres", async (t) => {
    t.equal((await lab.cc(["volume", "create", "--size", "4g", "--name", "data"], { host: 2 })).code, 0);
    const ran = await db.run(pushed.reference, ...volume, ...environment);
    t.equal(ran.code, 0, ran.stderr);
    // By TCP: the server that the entry point starts for the set-up alone has no more than its socket.
    const ready = async () => (await db.exec("pg_isready", "--host", "127.0.0.1")).code === 0;
    const answer = await eventually("it is ready", ready, RUN_MS).catch((error: unknown) => String(error));
    t.equal(answer, true, (await lab.cc(["logs", "db"])).stderr);
    t.match(await db.exec("sh", "-c", `id -un; stat -c '%U %a' ${DATA}; readlink -f /var/run/postgresql`), {
      code: 0,
      stdout: "postgres\npostgres 700\n/run/postgresql\n",
    });
    t.match(await db.inside("SHOW listen_addresses"), { code: 0, stdout: "localhost\n" });
    t.match(await db.inside("SELECT current_setting('fsync'), current_setting('data_checksums')"), { code: 0, stdout: "on|on\n" });
  });
  const { hostName: home } = await db.seen();
  const [other = 1, third = 1] = [1, 2, 3].filter((host) => host !== numberOf(home));
  const local = new LocalPort(
    await lab.start(["local-remote", "serve", "--container-id", "db", "--container-port", String(PORT), "--bind", "127.0.0.1:0"], { host: other }),
  );
  t.teardown(() => local.child.kill("SIGKILL"));
  const client = new PostgresClient(postgres, (await local.at()).port);

  await t.test("psql reaches a server that listens on the container's loopback alone", async (t) => {
    t.comment(`the container is on ${home}, the tunnel begins at h${other}`);
    t.match(await client.query("SELECT version()"), /^PostgreSQL \d+/);
    t.equal(await client.query("SELECT inet_server_addr()"), "127.0.0.1");
    const wrong = await client.run("psql", "-Xc", "SELECT 1", "postgresql://postgres:wrong@/postgres");
    t.match(wrong, { code: 2, stderr: /password authentication failed/ }, "what the server refuses is the server's to say");
  });

  await t.test("pgbench, with each of its protocols", async (t) => {
    const made = await client.run("pgbench", "--initialize", "--scale", String(SCALE), "--quiet");
    t.equal(made.code, 0, made.stderr);
    t.comment(made.stderr.trim().split("\n").at(-1));
    let transactions = 0;
    for (const protocol of ["simple", "prepared"]) {
      for (const what of ["tpcb-like", "select-only"]) {
        const words = [...PGBENCH, "--protocol", protocol, "--builtin", what];
        const tunnelled = await client.run("pgbench", ...words);
        const within = await db.exec("pgbench", "--username", "postgres", ...words, DATABASE);
        for (const ended of [tunnelled, within]) {
          t.equal(ended.code, 0, ended.stderr);
          const { tps, processed, failed } = figures(ended.stdout);
          t.ok(tps > 0 && failed === 0, ended.stdout);
          if (what === "tpcb-like") transactions += processed;
        }
        t.comment(`${what}, ${protocol}: ${figures(tunnelled.stdout).tps} tps through the tunnel, ${figures(within.stdout).tps} inside the container`);
      }
    }
    t.equal(await client.query("SELECT count(*) FROM pgbench_history"), String(transactions), "each transaction once");
    const sums = ["accounts", "branches", "tellers"].map((table) => `(SELECT sum(${table[0]}balance) FROM pgbench_${table})`);
    t.equal(await client.query(`SELECT sum(delta) = ALL (ARRAY[${sums.join()}]) FROM pgbench_history`), "t", "and the sums agree");
    const each = await client.run("pgbench", "--no-vacuum", "--client", "4", "--transactions", "50", "--connect", "--select-only");
    t.match(each, { code: 0, stdout: /number of transactions actually processed: 200\/200/ }, "a connection for each transaction");
    t.comment(/^average connection time.*$/m.exec(each.stdout)?.[0]);
  });

  await t.test("COPY of a big table, out and in again", async (t) => {
    const copy = "COPY (SELECT * FROM pgbench_accounts ORDER BY aid) TO STDOUT";
    const [out, within] = [join(work, "out"), join(work, "within")];
    let beganMs = performance.now();
    const here = await printedInto(client.start("psql", "-Xqc", copy), out);
    const outMs = performance.now() - beganMs;
    const there = await printedInto(await lab.start(["exec", "--user", "postgres", "db", "--", "psql", "-Xqc", copy, DATABASE], { host: third }), within);
    t.equal(here.code, 0);
    t.ok(here.bytes > 90 * ROWS, `${here.bytes} bytes`);
    t.same(here, there, "the same bytes as cc exec gives");
    await client.query("CREATE TABLE again (LIKE pgbench_accounts)");
    beganMs = performance.now();
    t.match(await client.copyIn("again", out), { code: 0, stdout: `COPY ${ROWS}\n` });
    const inMs = performance.now() - beganMs;
    // What is timed is the server and its client alone: within the container, by TCP, to nowhere.
    const timed = `time psql -Xqh 127.0.0.1 -c '${copy}' ${DATABASE} >/dev/null`;
    const alone = await db.exec("env", `PGPASSWORD=${PASSWORD}`, "TIMEFORMAT=%R", "bash", "-c", timed);
    t.match(alone, { code: 0, stderr: /^[\d.]+\n$/ });
    const speeds = [outMs, Number(alone.stderr) * 1_000, inMs].map((ms) => Math.round(here.bytes / ms / 1_000));
    t.comment(`${here.bytes} bytes: out at ${speeds[0]} MB/s (${speeds[1]} in the container), in at ${speeds[2]} MB/s`);
    const sum = (table: string) => `SELECT md5(string_agg(t::text, ',' ORDER BY aid)) FROM ${table} t`;
    t.equal(await client.query(sum("again")), await client.query(sum("pgbench_accounts")));
    t.equal(
      await client.query("DROP TABLE again; SET jit_above_cost = 0; SET max_parallel_workers_per_gather = 4; SELECT count(*) FROM pgbench_accounts"),
      `${ROWS}`,
    );
  });

  await t.test("what it uses is shown; its volume and its image are in use", async (t) => {
    const [metrics] = await lab.json<Metrics[]>(["metrics", "db"], { host: third });
    t.ok((metrics?.cpu.usedSeconds ?? 0) > 1 && (metrics?.memory.usedBytes ?? 0) > 1_000_000 && (metrics?.pids.current ?? 0) > 5, JSON.stringify(metrics));
    t.equal(metrics?.memory.limitBytes, 1024 ** 3);
    t.match(await lab.cc(["volume", "delete", "data"], { host: third }), { code: 1, stdout: "", stderr: /^Error \[IN_USE\]: .*db/ });
    t.match(await lab.cc(["image", "rm", pushed.reference]), { code: 1, stderr: /^Error \[IN_USE\]: .*db/m });
    const [seen] = await lab.json<{ usedBytes: number }[]>(["volume", "inspect", "data"]);
    t.ok((seen?.usedBytes ?? 0) > 100 * ROWS, "what the database wrote lies in the volume");
  });

  const writers = Array.from({ length: WRITERS }, (_, at) => new LedgerWriter(client, at));
  t.teardown(() => Promise.all(writers.map((one) => one.stop())));
  await t.test("whatever ends the server, what it acknowledged is there, and the same tunnel leads to it again", async (t) => {
    await client.query("CREATE TABLE ledger (writer int, number int, PRIMARY KEY (writer, number))");
    const acknowledged = () => writers.reduce((sum, one) => sum + one.acknowledged.length, 0);
    for (const one of writers) one.start();
    const hit = async (what: string, blow: () => Promise<unknown>): Promise<void> => {
      const from = acknowledged();
      await eventually(`rows are written before: ${what}`, async () => acknowledged() > from + 200, RUN_MS);
      const [broken, beganMs] = [writers.map((one) => one.inDoubt.size), performance.now()];
      await blow();
      await eventually(`each writer lost its connection: ${what}`, async () => writers.every((one, at) => one.inDoubt.size > (broken[at] ?? 0)), RUN_MS);
      const before = writers.map((one) => one.acknowledged.length);
      await eventually(`each writes again: ${what}`, async () => writers.every((one, at) => one.acknowledged.length > (before[at] ?? 0)), RUN_MS);
      t.comment(`${what}: all write again after ${Math.round(performance.now() - beganMs)} ms`);
    };
    await hit("one of its processes killed", async () => {
      const killed = await db.inside(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name = 'psql' AND pid <> pg_backend_pid() LIMIT 1",
      );
      t.equal((await db.exec("bash", "-c", `kill -9 ${killed.stdout.trim()}`)).code, 0);
    });
    await hit("cc restart", async () => {
      const beganMs = performance.now();
      const restarted = await lab.cc(["restart", "db"], { host: third });
      t.equal(restarted.code, 0, restarted.stderr);
      t.ok(performance.now() - beganMs < 9_000, "the image's signal for it is one that it obeys");
      t.match((await lab.cc(["logs", "db"])).stderr, /received fast shutdown request/);
    });
    await hit("its first process killed by its host", async () => {
      const { id } = await db.seen();
      t.equal((await lab.on(numberOf(home), "sh", "-c", `kill -9 $(cat /run/cc/containers/${id}/ctr.pid)`)).code, 0);
    });
    await hit("its host lost its power", async () => {
      await lab.must("kill", home.slice(1));
      await local.until(/db cannot be reached/, "stderr", RUN_MS);
      await lab.must("start", home.slice(1));
    });
    for (const one of writers) await one.stop();
    t.equal(local.child.exitCode, null, "the same tunnel all the time");
    t.comment(`${acknowledged()} rows acknowledged; what psql said when it was not: ${[...new Set(writers.flatMap((one) => one.errors))].join("\n")}`);
    t.comment(local.stderr);
  });

  /** Rows that were acknowledged and are not there, and rows that nobody can have written. */
  const wrongRows = (listed: string): string[] => {
    const rows = new Set(listed.trim().split("\n"));
    const acknowledged = writers.flatMap((one, writer) => one.acknowledged.map((number) => `${writer}|${number}`));
    const lost = acknowledged.filter((row) => !rows.has(row));
    const doubted = writers.flatMap((one, writer) => [...one.inDoubt].map((number) => `${writer}|${number}`));
    for (const row of [...acknowledged, ...doubted]) rows.delete(row);
    return [...lost.map((row) => `lost ${row}`), ...[...rows].map((row) => `never written ${row}`)];
  };
  await t.test("every acknowledged row is there, through the tunnel and inside", async (t) => {
    t.same(wrongRows(await client.query("TABLE ledger")), []);
    const within = await db.inside("TABLE ledger");
    t.equal(within.code, 0, within.stderr);
    t.same(wrongRows(within.stdout), []);
    t.equal(await client.query("SELECT count(*) FROM pgbench_accounts"), `${ROWS}`);
  });

  await t.test("the next container on its volume, another user's from the start, has all of it", async (t) => {
    t.equal((await lab.cc(["stop", "db"])).code, 0);
    await local.until(/db does not run/, "stderr");
    t.equal((await lab.cc(["rm", "db"])).code, 0);
    t.equal(await local.ended, 1, "the tunnel of a removed container ends");
    const check = await lab.cc(["run", "--rm", "--user", "postgres", "--image", pushed.reference, ...volume, "--", "pg_checksums", "--check"], {
      timeoutMs: RUN_MS,
    });
    t.match(check, { code: 0, stdout: /Bad checksums: +0\n/ }, check.stderr);
    const ran = await db.run(pushed.reference, "--user", "postgres", ...volume, "--", "postgres", "-c", "listen_addresses=*");
    t.equal(ran.code, 0, ran.stderr);
    const next = new LocalPort(
      await lab.start(["local-remote", "serve", "--container-id", "db", "--container-port", String(PORT), "--bind", "127.0.0.1:0"], { host: third }),
    );
    const again = new PostgresClient(postgres, (await next.at()).port);
    const rows = await eventually("it answers", async () => await again.query("TABLE ledger").catch(() => undefined), RUN_MS);
    t.same(wrongRows(rows), []);
    t.equal(await next.interrupt(), 0);
    t.equal((await lab.cc(["rm", "--force", "db"])).code, 0);
  });

  await t.test("a new volume for a container that is never root; everything is removed", async (t) => {
    t.equal((await lab.cc(["volume", "create", "--size", "512m", "--name", "fresh"])).code, 0);
    const made = await db.run(pushed.reference, "--user", "postgres", "--volume", `fresh:${DATA}`, ...environment);
    t.equal(made.code, 0, made.stderr);
    await eventually("it is ready", async () => (await db.inside("SELECT 1")).stdout === "1\n", RUN_MS);
    t.equal((await lab.cc(["rm", "--force", "db"])).code, 0);
    t.match(await lab.cc(["volume", "delete", "data", "fresh"]), { code: 0, stdout: "data\nfresh\n" });
    t.equal((await lab.cc(["image", "rm", pushed.reference])).code, 0);
    for (const host of [1, 2, 3]) {
      t.same(await lab.json(["ps", "--all"], { host }), []);
      t.same(await lab.json(["volume", "list"], { host }), []);
    }
  });
});
