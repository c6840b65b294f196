/**
 * What a running container uses, from the kernel's own counters. Counters grow from the process's start; those of the disk
 * from the mount of its disk, which a restart may keep.
 */
export type ContainerMetrics = {
  /** Wall clock. */
  readonly readAtMs: number;
  /** Since the host's boot: for rates between two readings. */
  readonly monotonicMs: number;
  readonly startedAtMs: number;
  readonly cpu: CpuUse;
  readonly memory: MemoryUse;
  readonly disk: DiskUse;
  /** Without loopback. */
  readonly interfaces: readonly InterfaceUse[];
  /** `limit` 0: none. */
  readonly pids: { readonly current: number; readonly limit: number };
};

/** `limitCores` 0: none. */
type CpuUse = { readonly usedSeconds: number; readonly limitCores: number; readonly throttledSeconds: number };
/** `usedBytes` is without file pages that can be given back at once; the peak is with them, 0 where the kernel does not tell. `limitBytes` 0: none. */
type MemoryUse = { readonly usedBytes: number; readonly peakBytes: number; readonly limitBytes: number; readonly oomKills: number };
export type DiskUse = { readonly usedBytes: number; readonly limitBytes: number } & DiskTraffic;
type DiskTraffic = { readonly readBytes: number; readonly writtenBytes: number; readonly reads: number; readonly writes: number };
type InterfaceUse = {
  readonly name: string;
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  readonly sentBytes: number;
  readonly sentPackets: number;
};
export type CgroupUse = Pick<ContainerMetrics, "cpu" | "memory" | "pids">;

/** The files of a cgroup that tell its use; on version 1 by controller. */
export const CGROUP_FILES: { readonly 1: readonly (readonly [controller: string, file: string])[]; readonly 2: readonly string[] } = {
  1: [
    ["cpuacct", "cpuacct.usage"],
    ["cpu", "cpu.stat"],
    ["cpu", "cpu.cfs_quota_us"],
    ["cpu", "cpu.cfs_period_us"],
    ["memory", "memory.usage_in_bytes"],
    ["memory", "memory.max_usage_in_bytes"],
    ["memory", "memory.limit_in_bytes"],
    ["memory", "memory.stat"],
    ["memory", "memory.oom_control"],
    ["pids", "pids.current"],
    ["pids", "pids.max"],
  ],
  2: ["cpu.stat", "cpu.max", "memory.current", "memory.peak", "memory.max", "memory.stat", "memory.events", "pids.current", "pids.max"],
};

/** No limit, as version 1 writes it: the largest number of whole pages. */
const UNLIMITED_BYTES = 2 ** 62;

/** `text` gives a file's content, "" where the kernel has no such file. */
export function readCgroupUse(version: 1 | 2, text: (file: string) => string): CgroupUse {
  const pids = { current: numberIn(text("pids.current")), limit: limitIn(text("pids.max")) };
  if (version === 2) {
    const stat = text("cpu.stat");
    const [quota = "", period = ""] = text("cpu.max").trim().split(" ");
    const inactive = numberOf(text("memory.stat"), "inactive_file");
    return {
      cpu: { usedSeconds: numberOf(stat, "usage_usec") / 1e6, limitCores: cores(quota, period), throttledSeconds: numberOf(stat, "throttled_usec") / 1e6 },
      memory: {
        usedBytes: Math.max(0, numberIn(text("memory.current")) - inactive),
        peakBytes: numberIn(text("memory.peak")),
        limitBytes: limitIn(text("memory.max")),
        oomKills: numberOf(text("memory.events"), "oom_kill"),
      },
      pids,
    };
  }
  const inactive = numberOf(text("memory.stat"), "total_inactive_file");
  return {
    cpu: {
      usedSeconds: numberIn(text("cpuacct.usage")) / 1e9,
      limitCores: cores(text("cpu.cfs_quota_us"), text("cpu.cfs_period_us")),
      throttledSeconds: numberOf(text("cpu.stat"), "throttled_time") / 1e9,
    },
    memory: {
      usedBytes: Math.max(0, numberIn(text("memory.usage_in_bytes")) - inactive),
      peakBytes: numberIn(text("memory.max_usage_in_bytes")),
      limitBytes: limitIn(text("memory.limit_in_bytes")),
      oomKills: numberOf(text("memory.oom_control"), "oom_kill"),
    },
    pids,
  };
}

/** Devices that the kernel puts into every network namespace once their module is loaded: none of the container's own. */
const KERNELS_OWN = new Set(["lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"]);

/** Of a /proc/PID/net/dev. */
export function readInterfaces(netDev: string): readonly InterfaceUse[] {
  return netDev.split("\n").flatMap((line) => {
    const colon = line.lastIndexOf(":");
    const name = line.slice(0, Math.max(0, colon)).trim();
    const counts = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    const [receivedBytes, receivedPackets] = counts;
    const [sentBytes, sentPackets] = counts.slice(8);
    if (name === "" || KERNELS_OWN.has(name) || receivedBytes === undefined || receivedPackets === undefined) return [];
    if (sentBytes === undefined || sentPackets === undefined || counts.some(Number.isNaN)) return [];
    return [{ name, receivedBytes, receivedPackets, sentBytes, sentPackets }];
  });
}

/** The kernel counts in these, whatever the device's own blocks are. */
const SECTOR_BYTES = 512;

/** Of a block device's `stat` in sysfs. */
export function readDiskTraffic(stat: string): DiskTraffic {
  const [reads = 0, , readSectors = 0, , writes = 0, , writtenSectors = 0] = stat.trim() === "" ? [] : stat.trim().split(/\s+/).map(Number);
  return { reads, readBytes: readSectors * SECTOR_BYTES, writes, writtenBytes: writtenSectors * SECTOR_BYTES };
}

/** Traffic of one who has had a device since `before` was read of it. */
export function trafficSince(before: DiskTraffic, now: DiskTraffic): DiskTraffic {
  return {
    reads: Math.max(0, now.reads - before.reads),
    readBytes: Math.max(0, now.readBytes - before.readBytes),
    writes: Math.max(0, now.writes - before.writes),
    writtenBytes: Math.max(0, now.writtenBytes - before.writtenBytes),
  };
}

/** `major:minor` of a device number as stat(2) gives it. */
export function deviceName(dev: number): string {
  const high = Math.floor(dev / 2 ** 32);
  const low = dev % 2 ** 32;
  const major = ((low >>> 8) & 0xfff) + Math.floor(high / 0x1000) * 0x1000;
  const minor = (low & 0xff) + ((low >>> 12) & 0xfff00) + (high & 0xfff) * 2 ** 20;
  return `${major}:${minor}`;
}

function numberIn(text: string): number {
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : 0;
}

/** Of a file of `name number` lines. */
function numberOf(text: string, name: string): number {
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  return numberIn(line?.slice(name.length + 1) ?? "");
}

/** 0 where there is none: `max`, or version 1's largest number. */
function limitIn(text: string): number {
  const limit = numberIn(text);
  return limit >= UNLIMITED_BYTES ? 0 : limit;
}

function cores(quota: string, period: string): number {
  const [quotaUs, periodUs] = [numberIn(quota), numberIn(period)];
  return quotaUs > 0 && periodUs > 0 ? quotaUs / periodUs : 0;
}
