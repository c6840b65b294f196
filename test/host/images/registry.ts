/** A real docker-registry on a free loopback port, for one test file. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { registryProgram } from "../../../nodes/lab/machine.ts";

const TOP = join(import.meta.dirname, "../../..");

export type Registry = {
  /** `127.0.0.1:PORT`, as it stands in image references. */
  readonly address: string;
  readonly url: string;
  /** How often a blob was fetched, by the registry's own access log. */
  blobGets(digest: string): Promise<number>;
  stop(): Promise<void>;
};

/** bcrypt of "right", made once: htpasswd is not everywhere. */
const USER_LINE = "alice:$2b$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC";

/** The registry writes its log after it has answered. */
const LOG_LAG_MS = 100;

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}

/** `folder` keeps the registry's files and is the caller's to remove. With `auth`, user alice has the password `right`. */
export async function startRegistry(folder: string, options: { readonly auth?: boolean; readonly port?: number } = {}): Promise<Registry> {
  const port = options.port ?? (await freePort());
  await mkdir(join(folder, "data"), { recursive: true });
  await writeFile(join(folder, "htpasswd"), `${USER_LINE}\n`);
  const auth = options.auth === true ? `auth:\n  htpasswd:\n    realm: test\n    path: ${join(folder, "htpasswd")}\n` : "";
  const file = join(folder, "config.yml");
  await writeFile(
    file,
    `version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: ${join(folder, "data")}\nhttp:\n  addr: 127.0.0.1:${port}\n${auth}`,
  );
  const child: ChildProcess = spawn("setpriv", ["--pdeathsig", "KILL", registryProgram(TOP), "serve", file], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stdout?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries += 1) {
    const answer = await fetch(`${url}/v2/`).catch(() => undefined);
    if (answer !== undefined) break;
    if (tries > 200) throw new Error(`the registry did not start: ${log}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return {
    address: `127.0.0.1:${port}`,
    url,
    async blobGets(digest) {
      await new Promise((resolve) => setTimeout(resolve, LOG_LAG_MS));
      return log
        .split("\n")
        .filter((line) => line.includes("http.request.method=GET") && line.includes(`/blobs/${digest}"`) && line.includes("response completed")).length;
    },
    async stop() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
