import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { parseMountInfo } from "../../nodes/lab/mounts.ts";

/** What a lab could leave behind on the machine, as lines of text that can be compared. */
export type Traces = ReadonlySet<string>;

/** Made by the first mount(8) of a machine's life, for its own notes, and kept by it. */
const OF_THE_SYSTEM = new Set(["mount"]);
const PROGRAMS = new Set(["conmon", "crun", "skopeo", "docker-registry", "miniupnpd", "catatonit", "umoci", "socat", "nsenter"]);

/** Reads what may vanish meanwhile. */
function read<T>(how: () => T, otherwise: T): T {
  try {
    return how();
  } catch {
    // A process, device or group that went while it was looked at leaves no trace.
    return otherwise;
  }
}

export function readTraces(): Traces {
  const traces = new Set<string>();
  for (const mount of parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8")))
    traces.add(`mount ${mount.point} (${mount.type} ${mount.source} ${mount.root})`);
  for (const device of readdirSync("/sys/block")) {
    const file = device.startsWith("loop") ? read(() => readFileSync(`/sys/block/${device}/loop/backing_file`, "utf8").trim(), "") : "";
    if (file !== "") traces.add(`loop device ${device} of ${file}`);
  }
  for (const link of readdirSync("/sys/class/net")) traces.add(`interface ${link}`);
  for (const table of execFileSync("nft", ["list", "tables"], { encoding: "utf8" }).trim().split("\n")) if (table !== "") traces.add(`nftables ${table}`);
  for (const group of cgroups()) traces.add(`cgroup ${group}`);
  for (const file of readdirSync("/run")) if (!OF_THE_SYSTEM.has(file)) traces.add(`file /run/${file}`);
  for (const trace of processes()) traces.add(trace);
  return traces;
}

/** Groups at the first two levels: those of other programs come and go below. */
function cgroups(): string[] {
  const roots = parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8")).filter((mount) => mount.type === "cgroup" || mount.type === "cgroup2");
  const folders = (path: string): string[] =>
    read(() => readdirSync(path, { withFileTypes: true }), [])
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${path}/${entry.name}`);
  return roots.flatMap((root) => folders(root.point)).flatMap((group) => [group, ...folders(group)]);
}

function processes(): string[] {
  const traces: string[] = [];
  const own = new Set(["net", "mnt", "user", "pid"].map((kind) => readlinkSync(`/proc/self/ns/${kind}`)));
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const words = read(() => readFileSync(`/proc/${pid}/cmdline`, "utf8"), "").split("\0");
    const program = words[0]?.split("/").at(-1) ?? "";
    if (words[0] === "" || program === "") continue;
    if (PROGRAMS.has(program) || words.some((word) => word.endsWith("/cc-peer") || word.endsWith("/nodes/peer/cc-peer.js")))
      traces.push(`process ${pid}: ${words.join(" ").trim()}`);
    for (const kind of ["net", "mnt", "user", "pid"]) {
      const namespace = read(() => readlinkSync(`/proc/${pid}/ns/${kind}`), "");
      if (namespace !== "" && !own.has(namespace)) traces.push(`namespace ${namespace}`);
    }
  }
  return traces;
}

/** What is there and was not before: ours is what names the lab; the rest may be somebody else's. */
export function newTraces(before: Traces, after: Traces, ours: readonly string[]): { readonly ours: readonly string[]; readonly others: readonly string[] } {
  const fresh = [...after].filter((trace) => !before.has(trace));
  const isOurs = (trace: string): boolean => ours.some((name) => trace.includes(name));
  return { ours: fresh.filter(isOurs), others: fresh.filter((trace) => !isOurs(trace)) };
}
