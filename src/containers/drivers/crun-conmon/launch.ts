import { existsSync } from "node:fs";
import { chown, mkdir, rename, writeFile } from "node:fs/promises";
import { CcError, type ContainerId, type Result, sleep } from "../../../base/index.ts";
import { sparseFile } from "../../../host/index.ts";
import type { ImageOnHost } from "../../../images/index.ts";
import { ociConfig } from "../../bundle.ts";
import { segmentBytesMax } from "../../log-history.ts";
import type { JoinedNetwork } from "../../networks.ts";
import { etcFiles, hostnameOf, processArgs, processDir, processEnv } from "../../process.ts";
import type { StartTimings } from "../../runtime.ts";
import type { ContainerSpec } from "../../spec.ts";
import { resolveUser } from "../../user.ts";
import { type Context, cgroupPath, openHistory } from "./context.ts";
import { noteTraffic } from "./metrics.ts";
import { mountsBelow } from "./mounts.ts";
import { prepareNetwork } from "./network.ts";
import { observe } from "./observe.ts";
import { textOf, ticksIn } from "./processes.ts";
import { RootFiles } from "./root-files.ts";
import { beginScript, diskScript, monitorScript } from "./scripts.ts";
import { commandNotExecutable, commandNotFound, startError } from "./start-error.ts";
import type { Stored } from "./stored.ts";
import { clearRun, releaseBundle, removeAll, settleRun } from "./teardown.ts";
import { attachVolumes, type MountedVolume, placeVolumes } from "./volumes.ts";

const SCRIPT_MS_MAX = 60_000;
const FILTER_MS_MAX = 2_000;

/** Measures steps that may go side by side, in whole and tenths of milliseconds. */
class Steps {
  readonly #now: () => number;
  readonly #took: Record<string, number> = {};

  constructor(now: () => number) {
    this.#now = now;
  }

  async of<T>(name: string, work: () => Promise<T>): Promise<T> {
    const from = this.#now();
    try {
      return await work();
    } finally {
      this.#took[name] = Math.round((this.#now() - from) * 10) / 10;
    }
  }

  get timings(): StartTimings {
    return { ...this.#took };
  }
}

export type StartCall = {
  readonly spec: ContainerSpec;
  readonly image: ImageOnHost;
  readonly runToken: string;
  readonly signal: AbortSignal;
  readonly first: Promise<void> | undefined;
};

/** See ContainerRuntime.start. One call per container at a time. */
export async function launch(context: Context, call: StartCall): Promise<StartTimings> {
  const { spec, runToken, signal } = call;
  const { id } = spec;
  const stored = await context.stored.get(id);
  const found = await observe(context, id);
  const before = stored !== undefined && found.kind === "ended" ? { ...stored, ended: { exit: found.exit ?? null } } : stored;
  if (found.kind === "running" || found.kind === "ended") {
    if (found.runToken === runToken) return {};
    if (found.kind === "running") throw new CcError("CONFLICT", `container ${id} still runs; stop it before it is started again`);
  }
  signal.throwIfAborted();
  // Created but never begun, by a peer that died. Clearing it makes its monitor write an exit code: were the peer to die once
  // more before that is gone, a process that never ran would have ended.
  if (found.kind === "half" && stored !== undefined) await context.stored.forget(id);
  const steps = new Steps(() => context.deps.clock.monotonicMs());
  context.starting.add(id);
  try {
    await steps.of("total", () => startProcess(context, { ...call, steps, fresh: found.kind === "absent" }));
    return steps.timings;
  } catch (error) {
    // Nothing of a start that failed stays: not its token either, or the next try would be taken for done.
    await undo(context, id, before);
    throw error;
  } finally {
    context.starting.delete(id);
    if (context.starting.size === 0) context.spares.refillLater(spec.diskBytes);
    context.histories.get(id)?.ring();
  }
}

type Start = StartCall & { readonly steps: Steps; readonly fresh: boolean };

async function startProcess(context: Context, start: Start): Promise<void> {
  const { spec, steps } = start;
  const { paths } = context;
  const { id } = spec;
  const history = openHistory(context, id, spec);
  await steps.of("prepare", async () => {
    if (!start.fresh) await clearRun(context, id);
    // Mounted, but perhaps not whole: a start that was cut off before its disk had its name.
    if (!start.fresh && !existsSync(paths.diskImage(id))) await releaseBundle(context, id);
    await mkdir(paths.state(id), { recursive: true, mode: 0o700 });
    await mkdir(paths.rootfs(id), { recursive: true, mode: 0o711 });
    await mkdir(paths.disk(id), { recursive: true, mode: 0o700 });
    // A pinned namespace from before can't be opened, and is kept.
    if (!existsSync(paths.network(id))) await writeFile(paths.network(id), "");
  });
  const mounted = start.fresh ? new Set<string>() : await mountsBelow(paths.bundle(id));
  const network = steps.of("network", () => prepareNetwork(context, id, mounted));
  const connected = steps.of("connected", async () => (await network)?.ready);
  connected.catch(() => undefined); // Heard by who waits for it, however late.
  const parts = [
    history.prepareRun(),
    spec.volumes.length === 0 ? [] : steps.of("volumes", () => attachVolumes(context.deps.volumes, spec)),
    steps.of("disk", () => prepareDisk(context, start, mounted)),
    network,
    // Before the process may exist: whoever returns after a crash must know that this token was used.
    steps.of("record", () => context.stored.put(id, recordOf(context, start))),
  ] as const;
  try {
    const [log, volumes, , joined] = await Promise.all(parts);
    await runProcess(context, start, { log, volumes, joined, connected });
  } catch (error) {
    // What is still made while everything is taken down would stay.
    await Promise.allSettled([...parts, connected]);
    throw error;
  }
}

type Prepared = {
  readonly log: string;
  readonly volumes: readonly MountedVolume[];
  readonly joined: JoinedNetwork | undefined;
  readonly connected: Promise<void>;
};

async function runProcess(context: Context, start: Start, { log, volumes, joined, connected }: Prepared): Promise<void> {
  const { spec, signal, steps } = start;
  const { paths, settings, deps } = context;
  const { id } = spec;
  const { crunRoot } = paths;
  signal.throwIfAborted();
  const compiled = context.seccomp.source.kind === "compiled";
  const [owner] = await steps.of("config", () => Promise.all([writeConfig(context, start, volumes, joined), noteTraffic(context, id)]));
  await steps.of("first", async () => start.first);
  signal.throwIfAborted();
  const created = await steps.of("create", () =>
    deps.process.run(
      monitorScript({
        id,
        bundle: paths.bundle(id),
        conmon: settings.conmonPath,
        runtime: context.cgroups.hideUnified ? paths.wrapper : settings.crunPath,
        crunRoot,
        exits: paths.exits,
        log,
        logBytesMax: segmentBytesMax(spec),
        stdin: spec.stdinOpen,
      }),
      { timeoutMs: SCRIPT_MS_MAX },
    ),
  );
  const pid = Number(/^\{"data":\s*(\d+)/.exec(created.stdout)?.[1]);
  const stat = /^stat (.*)\n/m.exec(created.stdout);
  if (created.exitCode !== 0 || !Number.isSafeInteger(pid)) throw startError(created.stdout.replace(stat?.[0] ?? "", ""), commandOf(start));
  // Its network came about meanwhile.
  await steps.of("wait", () => connected);
  signal.throwIfAborted();
  const begun = await steps.of("begin", () =>
    deps.process.run(beginScript({ id, pid, crun: settings.crunPath, crunRoot, stdin: spec.stdinOpen, owner }), { timeoutMs: SCRIPT_MS_MAX }),
  );
  if (begun.exitCode !== 0) throw startError(begun.stdout, commandOf(start));
  if (compiled) await checkFilter(context, id, pid);
  else await context.seccomp.learn(`${crunRoot}/${id}/seccomp.bpf`);
  // Known from here on also when it is over already: whoever looks need not ask crun.
  const ticks = ticksIn(stat?.[1] ?? "");
  if (ticks !== undefined) context.running.set(id, { pid, ticks });
}

function recordOf(context: Context, { spec, runToken }: Start): Stored {
  return {
    version: 1,
    runToken,
    life: context.life,
    startedAtMs: context.deps.clock.nowMs(),
    logFileBytes: spec.logFileBytes,
    logFiles: spec.logFiles,
    stdinOpen: spec.stdinOpen,
  };
}

async function prepareDisk(context: Context, { spec, image }: Start, mounted: ReadonlySet<string>): Promise<void> {
  const { paths } = context;
  const { id } = spec;
  const disk = paths.diskImage(id);
  const exists = existsSync(disk);
  if (exists && mounted.has(paths.rootfs(id))) return;
  // Formatted under another name, which it keeps only until it is whole: every exec that is spared here is a millisecond.
  const spare = !exists && (await context.spares.takeDisk(paths.freshDisk(id), spec.diskBytes));
  if (!exists && !spare) await sparseFile(paths.freshDisk(id), spec.diskBytes);
  const outcome = await context.deps.disk.run(
    diskScript({
      image: exists ? disk : paths.freshDisk(id),
      first: exists ? "check" : spare ? "nothing" : { format: paths.diskTemplate },
      mountPoint: paths.disk(id),
      rootfs: paths.rootfs(id),
      layers: image.layers,
      diskMounted: mounted.has(paths.disk(id)),
    }),
    { timeoutMs: SCRIPT_MS_MAX },
  );
  if (outcome.exitCode === 0) return exists ? undefined : rename(paths.freshDisk(id), disk);
  if (/no space left/i.test(outcome.stdout)) throw new CcError("NO_ROOM", "the host's disk is full");
  throw new CcError("CONTAINER_FAILED", `the container's disk cannot be made ready: ${outcome.stdout.trim()}`);
}

/** Gives the ids that the host knows the process's user by. */
async function writeConfig(
  context: Context,
  { spec, image }: Start,
  mounted: readonly MountedVolume[],
  joined: JoinedNetwork | undefined,
): Promise<{ readonly uid: number; readonly gid: number }> {
  const { paths, settings, deps } = context;
  const { id } = spec;
  const root = new RootFiles(paths.rootfs(id));
  const { uidMap, gidMap } = deps.userNamespace;
  const hostname = hostnameOf(spec);
  const [passwd, group, etc] = await Promise.all([root.text("/etc/passwd"), root.text("/etc/group"), writeEtc(context, id, hostname, joined)]);
  const user = valueOf(resolveUser(spec.user === "" ? image.config.user : spec.user, passwd, group, Math.min(uidMap.size, gidMap.size)));
  const args = valueOf(processArgs(spec, image.config));
  const env = processEnv(spec.env, image.config.env, hostname, user.home);
  const dir = processDir(spec.dir, image.config.workingDir);
  const owner = { uid: uidMap.hostId + user.uid, gid: gidMap.hostId + user.gid, rootUid: uidMap.hostId, rootGid: gidMap.hostId };
  await root.makeDirectory(dir, owner, `--dir ${dir}`);
  const volumes = await placeVolumes({ volumes: deps.volumes, mounted, root, user, uidMap, gidMap });
  if (spec.init) {
    // The init would find a missing command only after the start: as an exit code, and without telling which.
    const path = env.find((entry) => entry.startsWith("PATH="))?.slice(5) ?? "";
    const word = args[0] ?? "";
    const outcome = await root.command(word, path, dir);
    if (outcome === "missing") throw commandNotFound(word);
    if (outcome === "not-executable") throw commandNotExecutable(word);
  }
  const config = ociConfig({
    spec,
    args,
    env,
    dir,
    user,
    hostname,
    seccomp: context.seccomp.source,
    rootfs: paths.rootfs(id),
    userNamespace: deps.userNamespace.path,
    networkNamespace: paths.network(id),
    cgroup: cgroupPath(context, id),
    etc,
    volumes,
    init: spec.init ? settings.initPath : undefined,
    nofileMax: context.nofileMax,
    swapCounted: context.cgroups.swapCounted,
  });
  await writeFile(`${paths.bundle(id)}/config.json`, JSON.stringify(config), { mode: 0o600 });
  return owner;
}

/** Hostname, hosts and resolv.conf, anew for each start, on the container's own disk. Gives their host paths by name. */
async function writeEtc(context: Context, id: ContainerId, hostname: string, joined: JoinedNetwork | undefined): Promise<Readonly<Record<string, string>>> {
  const { uidMap, gidMap } = context.deps.userNamespace;
  const files = Object.entries(etcFiles(hostname, joined ?? { nameservers: context.settings.nameservers, search: [] }));
  const paths = files.map(async ([name, text]): Promise<readonly [string, string]> => {
    const file = `${context.paths.disk(id)}/etc/${name}`;
    // The container may have written to the one before, but not made a link of it: it sees the file, not its folder.
    await writeFile(file, text, { mode: 0o644 });
    await chown(file, uidMap.hostId, gidMap.hostId);
    return [name, file];
  });
  return Object.fromEntries(await Promise.all(paths));
}

/**
 * The annotation is an extension of crun: one that passes it over would run the process without a filter. It is set
 * just before the process's own program begins, a moment after `crun start` has returned.
 */
async function checkFilter(context: Context, id: ContainerId, pid: number): Promise<void> {
  const { clock } = context.deps;
  const until = clock.monotonicMs() + FILTER_MS_MAX;
  for (;;) {
    const status = textOf(`/proc/${pid}/status`);
    // Gone already: nothing to protect.
    if (!/^State:\s+[^ZX]/m.test(status) || /^Seccomp:\s*2/m.test(status)) return;
    if (clock.monotonicMs() > until) break;
    await sleep(clock, 1);
  }
  context.seccomp.distrust();
  throw new CcError("CONTAINER_FAILED", `this host's crun ignores compiled seccomp filters; ${id} was stopped at once, start it again`);
}

function commandOf({ spec, image }: Start): string {
  return (image.config.entrypoint[0] ?? spec.command[0] ?? image.config.cmd[0] ?? "").slice(0, 128);
}

async function undo(context: Context, id: ContainerId, before: Stored | undefined): Promise<void> {
  if (before === undefined) return removeAll(context, id);
  await clearRun(context, id);
  // The disk and the log of earlier runs stay, and so does how the last one ended.
  await context.stored.put(id, before.ended === undefined ? { ...before, ended: { exit: null } } : before);
  await settleRun(context, id);
}

function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new CcError(result.code, result.message);
}
