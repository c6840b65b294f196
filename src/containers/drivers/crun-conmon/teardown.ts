import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { CcError, type ContainerId, shellQuote, sleep } from "../../../base/index.ts";
import { type Context, cgroupOf, historyOf } from "./context.ts";
import { mountsBelow, releaseMounts, removeBundle } from "./mounts.ts";
import { crunState, observe } from "./observe.ts";
import { monitorPid } from "./processes.ts";

const MONITOR_END_MS = 5_000;
const LOOK_MS = 10;
/** What a run leaves in its bundle and a new one must not find. */
const RUN_FILES: ReadonlySet<string> = new Set(["ctr.pid", "conmon.pid", "conmon.err", "exit", "oom", "attach", "ctl", "winsz", "config.json"]);

/** Ends whatever process of it there is, and takes away what the runtime remembers of that run. Mounts stay for the next. */
export async function clearRun(context: Context, id: ContainerId): Promise<void> {
  const { paths, deps, settings } = context;
  await monitorSettled(context, id);
  if (existsSync(`${paths.crunRoot}/${id}`)) {
    const outcome = await deps.process.run(`${shellQuote(settings.crunPath)} --root ${shellQuote(paths.crunRoot)} delete --force ${shellQuote(id)}`);
    if (outcome.exitCode !== 0 && (await crunState(context, id)) !== undefined)
      throw new CcError("CONTAINER_FAILED", `the container's process cannot be removed: ${outcome.stdout.trim()}`);
  }
  await endMonitor(context, id);
  await killLeftovers(context, id);
  context.running.delete(id);
  context.exitsSeen.delete(id);
  await rm(paths.exit(id), { force: true });
  const names = await readdir(paths.bundle(id)).catch(() => []);
  for (const name of names) if (RUN_FILES.has(name)) await rm(`${paths.bundle(id)}/${name}`, { force: true });
}

/** See ContainerRuntime.settle. */
export async function settleRun(context: Context, id: ContainerId): Promise<void> {
  const found = await observe(context, id);
  if (found.kind === "absent") return;
  if (found.kind === "running") throw new CcError("IN_USE", `container ${id} still runs`);
  const stored = await context.stored.get(id);
  // How it ended is on the disk before what tells it goes.
  if (stored !== undefined && found.kind === "ended" && stored.ended === undefined)
    await context.stored.put(id, { ...stored, ended: { exit: found.exit ?? null } });
  await clearRun(context, id);
  await releaseBundle(context, id);
}

/** See ContainerRuntime.remove. */
export async function removeAll(context: Context, id: ContainerId): Promise<void> {
  await clearRun(context, id);
  await releaseBundle(context, id);
  const history = await historyOf(context, id).catch(() => undefined);
  context.histories.delete(id);
  await context.stored.remove(id);
  history?.ring();
}

/** Takes down what is mounted in the bundle, and the bundle, and gives back its volumes and its place in its VPC. */
export async function releaseBundle(context: Context, id: ContainerId): Promise<void> {
  const { paths, deps } = context;
  const bundle = paths.bundle(id);
  const mounted = await mountsBelow(bundle);
  // Before its namespace goes: nobody is to look for it there. And before the bundle: what is left after a crash is a half container, and comes here again.
  await deps.networks.leave(id);
  const points = [paths.rootfs(id), paths.disk(id), paths.network(id)];
  if (mounted.size > 0)
    await releaseMounts(
      { shell: deps.disk, clock: deps.clock, logger: deps.logger },
      points.filter((point) => mounted.has(point)),
      paths.diskImage(id),
    );
  await deps.volumes.release(id);
  await removeBundle(bundle, [paths.rootfs(id), paths.disk(id)]);
}

/** A conmon whose starter died may be in the middle of creating: it is done when crun knows the container, or it has given up. */
async function monitorSettled(context: Context, id: ContainerId): Promise<void> {
  const { clock } = context.deps;
  const until = clock.monotonicMs() + MONITOR_END_MS;
  while (monitorPid(context.paths.conmonPid(id), id) !== undefined && clock.monotonicMs() < until) {
    const state = await crunState(context, id);
    if (state !== undefined && state.status !== "creating") return;
    await sleep(clock, LOOK_MS);
  }
}

/** conmon ends by itself once its process has; one that does not is killed. */
async function endMonitor(context: Context, id: ContainerId): Promise<void> {
  const { clock, logger } = context.deps;
  const from = clock.monotonicMs();
  let killed = false;
  for (let pid = monitorPid(context.paths.conmonPid(id), id); pid !== undefined; pid = monitorPid(context.paths.conmonPid(id), id)) {
    if (!killed && clock.monotonicMs() - from > MONITOR_END_MS) {
      logger.warn({ container: id, pid }, "conmon outlived its container and is killed");
      process.kill(pid, "SIGKILL");
      killed = true;
    }
    await sleep(clock, LOOK_MS);
  }
}

/** What a create that was cut off left in the cgroup. */
async function killLeftovers(context: Context, id: ContainerId): Promise<void> {
  const cgroup = cgroupOf(context, id);
  const { clock } = context.deps;
  const until = clock.monotonicMs() + MONITOR_END_MS;
  for (let pids = await cgroup.pids(); pids.length > 0 && clock.monotonicMs() < until; pids = await cgroup.pids()) {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone between the two: what was wanted.
      }
    }
    await sleep(clock, LOOK_MS);
  }
  await cgroup.remove();
}
