import { mkdir, readdir, readFile, rm, rmdir, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CcError, type CommandOutcome, isVpcId, type PerlHelper, type ShellHelper, type VpcId } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import { pinOf } from "../../overlay-names.ts";
import type { Plan } from "../../overlay-plan.ts";
import { type OverlaySeen, parseSeen } from "../../overlay-seen.ts";
import {
  applyScript,
  BEGIN,
  BUSY_EXIT,
  FAILED,
  idleRequest,
  observeScript,
  openScript,
  type PortScript,
  portRequest,
  portScript,
  SEEN_FILE,
} from "./scripts.ts";

const SCRIPT_MS_MAX = 60_000;
/** Not a script: it starts nothing. Then `ip` and `bridge` are tried. */
const PORT_MS_MAX = 20_000;
/** Magic number of nsfs (linux/magic.h): a path of this type is a pinned namespace. */
const NSFS_MAGIC = 0x6e73_6673;
const SAID_CHARS = 300;

export type NamedPlan = { readonly vpc: VpcId | "host"; readonly plan: Plan };

/** The effects of the overlay: its folder of pins, scripts in the one kept shell, and the one kept program that makes ports. */
export class OverlayKernel {
  readonly #shell: ShellHelper;
  readonly #program: PerlHelper;
  readonly folder: string;

  constructor(shell: ShellHelper, program: PerlHelper, folder: string) {
    this.#shell = shell;
    this.#program = program;
    this.folder = folder;
  }

  /** Waits for what an earlier peer began. Gives the inode number of the host's own network namespace. */
  async open(): Promise<number> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const outcome = await this.#run(openScript(this.folder));
    // Begun here, so that no attach waits for that. Where it cannot be, `ip` and `bridge` are there.
    this.#program.ask(idleRequest(this.folder), { timeoutMs: PORT_MS_MAX }).catch(() => undefined);
    return Number(said(outcome));
  }

  /** Every VPC that has a folder, with whether its namespace is there: a folder alone was left by somebody who was killed. */
  async pins(): Promise<ReadonlyMap<VpcId, boolean>> {
    const ids = (await readdir(this.folder)).filter(isVpcId).toSorted();
    return new Map(await Promise.all(ids.map(async (id) => [id, await this.isPinned(id)] as const)));
  }

  async isPinned(vpc: VpcId): Promise<boolean> {
    try {
      return (await statfs(this.#pin(vpc))).type === NSFS_MAGIC;
    } catch (error) {
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    }
  }

  /** The host's own namespace, and those of these VPCs, which are pinned. */
  async observe(vpcs: readonly VpcId[]): Promise<OverlaySeen> {
    await this.#run(observeScript(this.folder, vpcs));
    const seen = parseSeen(await readFile(join(this.folder, SEEN_FILE)));
    if (seen === undefined) throw new CcError("INTERNAL", "the devices of this host cannot be read: the kernel gave no answer");
    return seen;
  }

  /** Applies them all; gives what failed, with the commands' words. */
  async apply(plans: readonly NamedPlan[]): Promise<ReadonlyMap<VpcId | "host", CcError>> {
    const failed = new Map<VpcId | "host", CcError>();
    const some = plans.filter(({ plan }) => plan.length > 0);
    if (some.length === 0) return failed;
    for (const { vpc, plan } of some) {
      if (vpc === "host" || !plan.some(({ tool }) => tool === "pin")) continue;
      await mkdir(join(this.folder, vpc), { recursive: true });
      await writeFile(this.#pin(vpc), "");
    }
    const outcome = await this.#run(applyScript(this.folder, some));
    for (const section of outcome.stdout.split(new RegExp(`^${BEGIN}`, "m")).slice(1)) {
      const [id = "", ...lines] = section.trim().split("\n");
      const vpc = some.find((one) => one.vpc === id)?.vpc;
      if (vpc === undefined || lines.at(-1) !== `${FAILED}${vpc}`) continue;
      const words = lines.slice(0, -1).join("; ").slice(0, SAID_CHARS);
      failed.set(vpc, new CcError("INTERNAL", `${vpc === "host" ? "the host's own network" : `the network of VPC ${vpc}`} cannot be set up: ${words}`));
    }
    for (const { vpc, plan } of some) if (vpc !== "host" && plan.some(({ tool }) => tool === "unpin")) await this.forget(vpc);
    return failed;
  }

  /** Undefined: it went well; else the commands' words. */
  async port(script: PortScript): Promise<string | undefined> {
    try {
      const outcome = await this.#program.ask(portRequest(this.folder, script), { timeoutMs: PORT_MS_MAX });
      return outcome.exitCode === 0 ? undefined : said(outcome);
    } catch (error) {
      // It ended, or was killed because it hung: the kernel is not to blame.
      if (error instanceof CcError && (error.code === "INTERNAL" || error.code === "TIMEOUT")) return error.message;
      throw error;
    }
  }

  /** The same by `ip` and `bridge`, whatever our own program left half-made. */
  async portAnew(script: PortScript): Promise<string | undefined> {
    const outcome = await this.#shell.run(portScript(this.folder, script), { timeoutMs: SCRIPT_MS_MAX });
    return outcome.exitCode === 0 ? undefined : said(outcome);
  }

  /** The folder of a VPC that is not pinned any more. */
  async forget(vpc: VpcId): Promise<void> {
    if (await this.isPinned(vpc)) return;
    await rm(this.#pin(vpc), { force: true });
    await rmdir(join(this.folder, vpc)).catch((error: unknown) => {
      // Somebody else's file in it is not ours to take.
      if (!["ENOENT", "ENOTEMPTY"].includes(errorCode(error))) throw error;
    });
  }

  #pin(vpc: VpcId): string {
    return join(this.folder, pinOf(vpc));
  }

  async #run(script: string): Promise<CommandOutcome> {
    const outcome = await this.#shell.run(script, { timeoutMs: SCRIPT_MS_MAX });
    if (outcome.exitCode === BUSY_EXIT) throw new CcError("TIMEOUT", "a command of an earlier peer is still at work on the networks of this host");
    if (outcome.exitCode !== 0) throw new CcError("INTERNAL", `the networks of this host's VPCs cannot be read or changed: ${said(outcome)}`);
    return outcome;
  }
}

const said = ({ stdout }: CommandOutcome): string => stdout.trim().split("\n").join("; ").slice(0, SAID_CHARS);
