/** One line of /proc/PID/mountinfo, as far as the lab looks at it. */
export type Mount = { readonly root: string; readonly point: string; readonly type: string; readonly source: string };

export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split("\n")) {
    const [before, after] = line.split(" - ");
    const left = before?.split(" ");
    const right = after?.split(" ");
    const [root, point, type, source] = [left?.[3], left?.[4], right?.[0], right?.[1]];
    if (root !== undefined && point !== undefined && type !== undefined && source !== undefined) {
      mounts.push({ root: unoctal(root), point: unoctal(point), type, source: unoctal(source) });
    }
  }
  return mounts;
}

/** mountinfo writes space, tab, newline and backslash as octal. */
function unoctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);

/** What is mounted at or below a folder, the last mounted first: the order to unmount in. */
export function mountsBelow(mounts: readonly Mount[], folder: string): string[] {
  return mounts
    .filter((mount) => isBelow(mount.point, folder))
    .map((mount) => mount.point)
    .reverse();
}

const KEPT_BELOW = ["/proc", "/sys", "/dev"];
const PINNING = new Set(["nsfs", "overlay", "fuse", "fuseblk"]);

/**
 * What a new host must let go of, the last mounted first. Its mount namespace starts as a copy of the machine's, and a
 * copied loop, overlay or namespace mount would keep that alive for as long as the host lives. `/run` is covered by a
 * tmpfs of the host's own later. What holds `needed` (the checkout, its programs) stays.
 */
export function mountsToDrop(mounts: readonly Mount[], needed: readonly string[]): string[] {
  const holds = (mount: Mount): boolean => needed.some((path) => isBelow(path, mount.point));
  const pins = (mount: Mount): boolean =>
    PINNING.has(mount.type) ||
    mount.type.startsWith("fuse.") ||
    mount.source.startsWith("/dev/loop") ||
    isBelow(mount.point, "/run") ||
    mount.point.includes("/.lab/");
  return mounts
    .filter((mount) => mount.point !== "/" && !holds(mount) && pins(mount) && !KEPT_BELOW.some((kept) => isBelow(mount.point, kept)))
    .map((mount) => mount.point)
    .reverse();
}

/** The namespaces that are bound to files below a folder, by file: `net:[4026532177]`, as /proc/PID/ns/* links read. */
export function boundNamespaces(mounts: readonly Mount[], folder: string): ReadonlyMap<string, string> {
  const bound = new Map<string, string>();
  for (const mount of mounts) if (mount.type === "nsfs" && isBelow(mount.point, folder)) bound.set(mount.point, mount.root);
  return bound;
}

/** Mount points of the cgroup hierarchies in which a process of the lab is put, by a machine's mountinfo. */
export function cgroupRoots(mounts: readonly Mount[]): string[] {
  const first = mounts.filter((mount) => mount.type === "cgroup");
  // On a machine with both versions the second has no controllers, and hosts of the lab don't see it. A new group of
  // cpuset takes no process before it is told its processors; that of the containers is the runtime's business.
  if (first.length > 0) return first.map((mount) => mount.point).filter((point) => !point.endsWith("/cpuset"));
  return mounts.filter((mount) => mount.type === "cgroup2").map((mount) => mount.point);
}
