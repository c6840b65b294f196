import type { ContainerMetrics } from "../src/api/client-messages.ts";
import { formatSize } from "../src/base/index.ts";

/**
 * How much of one core was used between two readings, in percent; 200 is two cores. Undefined where the two are not of one
 * run of the process, or nothing has passed.
 */
export function cpuPercent(before: ContainerMetrics | undefined, now: ContainerMetrics): number | undefined {
  if (before?.running !== true || !now.running || before.host !== now.host || before.startedAtMs !== now.startedAtMs) return undefined;
  const elapsedS = (now.monotonicMs - before.monotonicMs) / 1_000;
  const usedS = (now.cpu?.usedSeconds ?? 0) - (before.cpu?.usedSeconds ?? 0);
  return elapsedS > 0 && usedS >= 0 ? Math.round((usedS / elapsedS) * 1_000) / 10 : undefined;
}

export const percentText = (percent: number | undefined): string => (percent === undefined ? "" : `${percent.toFixed(1)} %`);

export function secondsText(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(2)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}m${Math.floor(seconds % 60)}s` : `${Math.floor(minutes / 60)}h${minutes % 60}m`;
}

/** `12 MiB of 256 MiB`; a limit of 0 is none. */
export const ofLimit = (used: string, limit: number, show: (limit: number) => string): string => (limit > 0 ? `${used} of ${show(limit)}` : used);

type Traffic = { receivedBytes: number; receivedPackets: number; sentBytes: number; sentPackets: number };

/** Of all its interfaces together; undefined where it has none. */
export function trafficOf({ interfaces }: ContainerMetrics): Traffic | undefined {
  if (interfaces.length === 0) return undefined;
  const sum = { receivedBytes: 0, receivedPackets: 0, sentBytes: 0, sentPackets: 0 };
  for (const each of interfaces) {
    sum.receivedBytes += each.receivedBytes;
    sum.receivedPackets += each.receivedPackets;
    sum.sentBytes += each.sentBytes;
    sum.sentPackets += each.sentPackets;
  }
  return sum;
}

/** All that is known of one reading, as `name: value`. */
export function usageFacts(now: ContainerMetrics, percent: number | undefined): readonly (readonly [string, string])[] {
  const { cpu, memory, disk, pids, interfaces } = now;
  const head = [
    ["Id", now.id],
    ["Name", now.name],
    ["Host", now.hostName || now.host],
    ["Phase", now.phase],
  ] as const;
  if (!now.running || cpu === undefined || memory === undefined || disk === undefined || pids === undefined) return [...head, ["Running", "no"]];
  const limits = [`${cpu.shares} shares`, ...(cpu.limitCores > 0 ? [`at most ${cpu.limitCores} cores`] : [])].join(", ");
  const throttled = cpu.throttledSeconds > 0 ? `, throttled for ${secondsText(cpu.throttledSeconds)}` : "";
  return [
    ...head,
    ["CPU", `${percentText(percent) || "-"} of a core, ${secondsText(cpu.usedSeconds)} so far (${limits}${throttled})`],
    ["Memory", ofLimit(formatSize(memory.usedBytes), memory.limitBytes, formatSize)],
    ["Memory peak", memory.peakBytes > 0 ? `${formatSize(memory.peakBytes)}, file pages included` : ""],
    ["OOM kills", String(memory.oomKills)],
    ["Disk", ofLimit(formatSize(disk.usedBytes), disk.limitBytes, formatSize)],
    ["Disk traffic", `read ${formatSize(disk.readBytes)} in ${disk.reads}, written ${formatSize(disk.writtenBytes)} in ${disk.writes} requests`],
    ...interfaces.map(
      ({ name, receivedBytes, receivedPackets, sentBytes, sentPackets }) =>
        [`Network ${name}`, `received ${formatSize(receivedBytes)} in ${receivedPackets}, sent ${formatSize(sentBytes)} in ${sentPackets} packets`] as const,
    ),
    ["Network", interfaces.length === 0 ? "none but loopback" : ""],
    ["Processes", ofLimit(String(pids.current), pids.limit, String)],
  ];
}
