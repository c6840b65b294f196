import { readFile, stat, statfs, writeFile } from "node:fs/promises";
import type { ContainerId } from "../../../base/index.ts";
import { errorCode } from "../../../host/index.ts";
import { type CgroupUse, type ContainerMetrics, type DiskUse, deviceName, readDiskTraffic, readInterfaces, trafficSince } from "../../metrics.ts";
import { type Context, cgroupOf } from "./context.ts";
import { observe } from "./observe.ts";

/** See ContainerRuntime.metrics. Files of /proc, /sys and the cgroup only; no process is started for a reading. */
export async function readMetrics(context: Context, id: ContainerId): Promise<ContainerMetrics | undefined> {
  const found = await observe(context, id);
  if (found.kind !== "running") return undefined;
  const { clock } = context.deps;
  const reading = async (): Promise<CgroupUse & { readonly readAtMs: number; readonly monotonicMs: number }> => {
    const use = await cgroupOf(context, id).use();
    return { readAtMs: clock.nowMs(), monotonicMs: clock.monotonicMs(), ...use };
  };
  const [use, disk, netDev] = await Promise.all([reading(), readDisk(context, id), textOf(`/proc/${found.pid}/net/dev`)]);
  // What was read of a process that ended meanwhile, or of one that has its pid by now, is nobody's.
  const still = await observe(context, id);
  if (disk === undefined || still.kind !== "running" || still.runToken !== found.runToken) return undefined;
  return { startedAtMs: found.startedAtMs, ...use, disk, interfaces: readInterfaces(netDev) };
}

/** Its own disk's file system as df(1) has it, and the traffic of the device below. Undefined when it is being taken down. */
async function readDisk(context: Context, id: ContainerId): Promise<DiskUse | undefined> {
  const folder = context.paths.disk(id);
  try {
    const [{ bsize, blocks, bfree }, now, before] = await Promise.all([statfs(folder), deviceTraffic(folder), textOf(context.paths.trafficBefore(id))]);
    const traffic = trafficSince(readDiskTraffic(before), readDiskTraffic(now));
    return { usedBytes: (blocks - bfree) * bsize, limitBytes: blocks * bsize, ...traffic };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** What the device has counted before this run: it counts since the machine's start, for whatever file lay below it. */
export async function noteTraffic({ paths }: Context, id: ContainerId): Promise<void> {
  await writeFile(paths.trafficBefore(id), await deviceTraffic(paths.disk(id)), { mode: 0o600 });
}

async function deviceTraffic(folder: string): Promise<string> {
  const { dev } = await stat(folder);
  return textOf(`/sys/dev/block/${deviceName(dev)}/stat`);
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH", "EINVAL"].includes(errorCode(error))) return "";
    throw error;
  }
}
