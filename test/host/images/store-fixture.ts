/** An image store on a scratch folder of its own, with the user namespace that it unpacks in. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { CommandRunner, Logger } from "../../../src/base/index.ts";
import { silentLogger } from "../../../src/base/index.ts";
import {
  createCommandRunner,
  createUserNamespacePin,
  type StreamingCommandRunner,
  systemClock,
  systemRandom,
  type UserNamespacePin,
} from "../../../src/host/index.ts";
import { createImageStore, type HostImageStore, type ImageStoreInit } from "../../../src/images/index.ts";

const run = promisify(execFile);

/** For a whole file, on a machine that is busy with others. */
export const TEST_MS_MAX = 180_000;

export type Fixture = {
  readonly folder: string;
  readonly dataDir: string;
  readonly runDir: string;
  readonly pin: UserNamespacePin;
  /** Every argv that the store ran. */
  readonly argvs: string[];
  open(extra?: Partial<ImageStoreInit>): HostImageStore;
  /** Names left in each folder of the store, and secrets in the run folder: what a pull must not leave. */
  leftovers(): Promise<{ readonly pulls: readonly string[]; readonly layers: readonly string[]; readonly auth: readonly string[] }>;
  close(): Promise<void>;
};

export async function makeFixture(options: { readonly log?: Logger } = {}): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), "cc-images-"));
  const dataDir = join(folder, "data");
  const runDir = join(folder, "run");
  const argvs: string[] = [];
  const commands = recording(createCommandRunner(), argvs);
  const pin = createUserNamespacePin({ runDir, commands });
  return {
    folder,
    dataDir,
    runDir,
    pin,
    argvs,
    open: (extra = {}) =>
      createImageStore({ dataDir, runDir, pin, commands, clock: systemClock, random: systemRandom, log: options.log ?? silentLogger, ...extra }),
    async leftovers() {
      const names = (path: string): Promise<string[]> => readdir(path).catch(() => []);
      const run = await names(join(runDir, "registry"));
      return { pulls: await names(join(dataDir, "t")), layers: await names(join(dataDir, "l")), auth: run.filter((name) => name.startsWith("auth-")) };
    },
    async close() {
      await pin.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function recording(inner: StreamingCommandRunner, argvs: string[]): StreamingCommandRunner {
  const note = (argv: readonly string[]): void => void argvs.push(argv.join(" "));
  return {
    run: (argv, options): ReturnType<CommandRunner["run"]> => {
      note(argv);
      return inner.run(argv, options);
    },
    feed: (argv, source, options) => {
      note(argv);
      return inner.feed(argv, source, options);
    },
  };
}

/** What `stat -c FORMAT` says of a path. */
export async function statOf(path: string, format: string): Promise<string> {
  return (await run("stat", ["-c", format, path])).stdout.trim();
}

export async function output(program: string, ...args: string[]): Promise<string> {
  return (await run(program, args)).stdout;
}
