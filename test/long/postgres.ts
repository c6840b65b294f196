import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, createWriteStream, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { buildImage, writeOciLayout } from "../host/images/oci-layout.ts";

const TOP = join(import.meta.dirname, "../..");
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };
const UNPACK_MS = 240_000;
const CLIENT_MS = 240_000;
const OUTPUT_CHARACTERS_MAX = 1024 ** 2;
export const DATA = "/var/lib/postgresql/data";
export const PASSWORD = "not a secret";
export const DATABASE = "shop";

/** PostgreSQL of this machine's Debian, unpacked but not installed: an image of it, and its client programs to run here. */
export type Postgres = { readonly image: string; readonly root: string; readonly programs: string };

/** Packages are kept in `.cache/`; all else goes into `folder`. */
export async function unpackPostgres(folder: string): Promise<Postgres> {
  const root = join(folder, "root");
  const layer = join(folder, "layer.tar");
  mkdirSync(folder, { recursive: true });
  const run = async (program: string, ...words: string[]) => (await promisify(execFile)(program, words, { timeout: UNPACK_MS, killSignal: "SIGKILL" })).stdout;
  const programs = (await run(join(import.meta.dirname, "make-postgres-root"), join(TOP, ".cache/postgres"), root)).trim();
  copyFileSync(join(import.meta.dirname, "postgres-entrypoint"), join(root, "usr/local/bin/docker-entrypoint.sh"));
  await run("tar", "--sort=name", "--numeric-owner", "-C", root, "-cf", layer, ".");
  const image = buildImage({
    layers: [{ entries: [], tar: readFileSync(layer) }],
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    config: {
      Entrypoint: ["docker-entrypoint.sh"],
      Cmd: ["postgres"],
      Env: [`PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${programs}`, `PGDATA=${DATA}`, "LANG=C.UTF-8", "LC_ALL=C.UTF-8"],
      ExposedPorts: { "5432/tcp": {} },
      Volumes: { [DATA]: {} },
      // SIGTERM would have the server wait for its clients to go.
      StopSignal: "SIGINT",
    },
  });
  await writeOciLayout(join(folder, "oci"), image, "latest");
  return { image: `oci:${join(folder, "oci")}:latest`, root, programs };
}

export type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** PostgreSQL's own clients on this machine, connected to a port of it. */
export class PostgresClient {
  readonly #postgres: Postgres;
  readonly #port: number;

  constructor(postgres: Postgres, port: number) {
    this.#postgres = postgres;
    this.#port = port;
  }

  /** Starts `psql`, `pgbench` and the like, and leaves them to the caller. */
  start(program: string, ...words: readonly string[]): ChildProcess {
    const { root, programs } = this.#postgres;
    const env = {
      PATH: process.env["PATH"] ?? "",
      PGHOST: "127.0.0.1",
      PGPORT: String(this.#port),
      PGUSER: "postgres",
      PGPASSWORD: PASSWORD,
      PGDATABASE: DATABASE,
      PGCONNECT_TIMEOUT: "20",
    };
    return spawn("chroot", [root, join(programs, program), ...words], { env, stdio: "pipe", timeout: CLIENT_MS, killSignal: "SIGKILL" });
  }

  async run(program: string, ...words: readonly string[]): Promise<Ended> {
    const child = this.start(program, ...words);
    child.stdin?.end();
    return outputOf(child);
  }

  /** What a query answers, a row a line; throws where it fails. */
  async query(sql: string): Promise<string> {
    const ended = await this.run("psql", "-XAtqc", sql);
    if (ended.code !== 0) throw new Error(`psql ended with ${ended.code}: ${ended.stderr}`);
    return ended.stdout.trim();
  }

  /** COPY ... FROM STDIN. */
  async copyIn(table: string, file: string): Promise<Ended> {
    const child = this.start("psql", "-Xc", `COPY ${table} FROM STDIN`);
    if (child.stdin === null) throw new Error("psql has no input");
    const [ended] = await Promise.all([outputOf(child), pipeline(createReadStream(file), child.stdin)]);
    return ended;
  }
}

/** What a program says, to its end. */
export async function outputOf(child: ChildProcess): Promise<Ended> {
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (text: string) => {
      if (said[name].length < OUTPUT_CHARACTERS_MAX) said[name] += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  return { code, ...said };
}

/** Puts what a program prints into a file; gives how much it was, and its sum. */
export async function printedInto(child: ChildProcess, file: string): Promise<{ readonly code: number | null; readonly bytes: number; readonly sum: string }> {
  if (child.stdout === null) throw new Error("no output");
  child.stdin?.end();
  child.stderr?.pipe(process.stderr);
  const hash = createHash("sha256");
  let bytes = 0;
  const over = new Promise<number | null>((resolve) => child.once("close", resolve));
  child.stdout.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  await pipeline(child.stdout, createWriteStream(file));
  return { code: await over, bytes, sum: hash.digest("hex") };
}
