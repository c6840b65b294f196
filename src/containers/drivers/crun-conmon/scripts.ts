import { dirname } from "node:path";
import { CcError, shellQuote as q } from "../../../base/index.ts";

/** The shell scripts of the driver as text. Each ends with exit code 0 when what it is to do is done. */

export type DiskScript = {
  readonly image: string;
  /** What comes before its mount: formatting it (a sparse file of its size) with a folder's content, looking for damage, or nothing. */
  readonly first: { readonly format: string } | "check" | "nothing";
  readonly mountPoint: string;
  readonly rootfs: string;
  /** Lowest first, absolute. */
  readonly layers: readonly string[];
  /** Steps that are there already, from an earlier start that was cut off. */
  readonly diskMounted: boolean;
};

/** Disk as ext4 in a sparse file, its `u` and `w` over the layers as the container's root. */
export function diskScript(input: DiskScript): string {
  const lines = ["set -e"];
  const { image, first } = input;
  if (!input.diskMounted) {
    if (typeof first === "object") lines.push(formatScript(image, first.format));
    if (first === "check") {
      lines.push(`e2fsck -p ${q(image)} >/dev/null 2>&1 || [ $? -lt 4 ] || { echo "the disk of the container is damaged: e2fsck -p ${image}"; exit 1; }`);
    }
    // Without `discard`: the whole size is counted as used anyway, and deleting stays fast.
    lines.push(`mount -i -t ext4 -o loop,nosuid,nodev ${q(image)} ${q(input.mountPoint)}`);
  }
  const { folder, lower } = overlayLower(input.layers);
  lines.push(
    `cd ${q(folder)}`,
    `mount -i -t overlay overlay -o ${q(`nosuid,nodev,lowerdir=${lower},upperdir=${input.mountPoint}/u,workdir=${input.mountPoint}/w`)} ${q(input.rootfs)}`,
  );
  return lines.join("\n");
}

/** No journal and no room for resizing: made in 7 ms. What a power cut may leave is put right by e2fsck before the next mount. */
export function formatScript(image: string, template: string): string {
  return `mkfs.ext4 -q -F -m0 -O ^has_journal,^resize_inode -E lazy_itable_init=1,nodiscard -d ${q(template)} ${q(image)}`;
}

/** Options of a mount are limited to a page, so layers are named relative to the folder that they share. */
export function overlayLower(layers: readonly string[]): { readonly folder: string; readonly lower: string } {
  const first = layers[0];
  if (first === undefined) throw new CcError("CONTAINER_FAILED", "the image has no layers");
  let folder = dirname(first);
  while (!layers.every((layer) => layer.startsWith(folder === "/" ? "/" : `${folder}/`))) folder = dirname(folder);
  const names = layers.map((layer) => layer.slice(folder === "/" ? 1 : folder.length + 1));
  const strange = names.find((name) => /[:,\\]/.test(name));
  if (strange !== undefined) throw new CcError("INTERNAL", `a layer's folder "${strange}" cannot be named in mount options`);
  return { folder, lower: names.toReversed().join(":") };
}

/** Far longer than a mount takes; a holder whose peer was killed in between is gone after it. */
const HOLD_S = 20;

/**
 * A network namespace that belongs to the user namespace (else the host's /sys shows inside), loopback up, pinned at
 * `target`. Its holder sleeps until the mount is made; should this peer be killed before, it goes by itself.
 */
export function networkScript(userNamespace: string, target: string): string {
  const hold = `ip link set lo up && echo $$ && exec sleep ${HOLD_S}`;
  return [
    `nsenter --user=${q(userNamespace)} -S 0 -G 0 unshare -n sh -c ${q(hold)} | {`,
    `  read -r pid || exit 1`,
    `  mount --bind /proc/$pid/ns/net ${q(target)}; rc=$?`,
    `  kill $pid; exit $rc; }`,
  ].join("\n");
}

export type MonitorScript = {
  readonly id: string;
  readonly bundle: string;
  readonly conmon: string;
  /** What conmon calls: crun, or the wrapper that hides the unified hierarchy from it. */
  readonly runtime: string;
  readonly crunRoot: string;
  readonly exits: string;
  readonly log: string;
  readonly logBytesMax: number;
  readonly stdin: boolean;
};

/** Creates the container, whose process waits to be begun. Prints conmon's one line about it, and the process's identity. */
export function monitorScript(input: MonitorScript): string {
  const argv = [
    input.conmon,
    "--api-version",
    "1",
    "--cid",
    input.id,
    "--cuuid",
    input.id,
    "--name",
    input.id,
    "--runtime",
    input.runtime,
    "--runtime-arg",
    `--root=${input.crunRoot}`,
    "--runtime-arg",
    "--cgroup-manager=cgroupfs",
    "--bundle",
    input.bundle,
    "--container-pidfile",
    `${input.bundle}/ctr.pid`,
    "--conmon-pidfile",
    `${input.bundle}/conmon.pid`,
    "--exit-dir",
    input.exits,
    "--persist-dir",
    input.bundle,
    "--full-attach",
    "--no-sync-log",
    "--log-path",
    `k8s-file:${input.log}`,
    "--log-size-max",
    String(input.logBytesMax),
    ...(input.stdin ? ["--stdin"] : []),
  ];
  return [
    `cd ${q(input.bundle)} || exit 1`,
    // conmon keeps the pipe open for its lifetime: one line is read, its end never comes.
    `line=$(_OCI_SYNCPIPE=3 ${argv.map(q).join(" ")} 3>&1 >/dev/null 2>conmon.err </dev/null | { read -r l; printf '%s' "$l"; })`,
    `printf '%s\\n' "$line"`,
    `case $line in *'"data"'*:*-*|'') cat conmon.err; exit 1;; esac`,
    // The process's identity, while it surely is there: many a command is over before `start` has returned.
    `pid=\${line##*:}; pid=\${pid# }; pid=\${pid%\\}}; read -r stat </proc/$pid/stat && printf 'stat %s\\n' "$stat"`,
  ].join("\n");
}

export type BeginScript = {
  readonly id: string;
  readonly pid: number;
  readonly crun: string;
  readonly crunRoot: string;
  readonly stdin: boolean;
  /** The process's user, as the host counts. */
  readonly owner: { readonly uid: number; readonly gid: number };
};

/** Begins the process of a created container; prints `started`, or crun's words. */
export function beginScript(input: BeginScript): string {
  return [
    // conmon's pipes are the host's root's: the process could write to them, but no program in it could open /dev/stdout.
    `chown ${input.owner.uid}:${input.owner.gid} ${(input.stdin ? [0, 1, 2] : [1, 2]).map((fd) => `/proc/${input.pid}/fd/${fd}`).join(" ")}`,
    `${q(input.crun)} --root ${q(input.crunRoot)} start ${q(input.id)} && echo started`,
  ].join("\n");
}

export type ExecScript = {
  /** Its own, with process.json in it: pipes, crun's log and the process's pid come beside that. */
  readonly folder: string;
  readonly crun: string;
  readonly crunRoot: string;
  readonly id: string;
  readonly stdin: boolean;
};

/**
 * Leaves one more process of a container in the background, its input and output in named pipes: Node's own are sockets, which
 * no program can open by /dev/stdout, and its spawn would hold up the loop. They may be opened by every user of the container, who
 * has no way to the folder. `said` gets crun's pid and then the exit code; both ends are opened by one side at once, so it never waits.
 */
export function execScript(input: ExecScript): string {
  const crun = [input.crun, "--root", input.crunRoot, "--log", "log", "--log-format", "json"];
  const exec = ["exec", "--process", "process.json", "--pid-file", "pid", input.id];
  return [
    `cd ${q(input.folder)} && umask 0 && mkfifo said out err${input.stdin ? " in" : ""} && umask 077 || exit 1`,
    "{",
    "exec 4<>said",
    // A shell's background ignores INT and QUIT, and so would all that comes after it. A session of its own tells its members.
    `env --default-signal setsid ${[...crun, ...exec].map(q).join(" ")} <${input.stdin ? "in" : "/dev/null"} >out 2>err 4>&- &`,
    'echo "crun $!" >&4; wait $!; echo "exit $?" >&4',
    "} </dev/null >/dev/null 2>&1 &",
  ].join("\n");
}

/** The wrapper for hybrid cgroups: crun refuses to create where the unified hierarchy has controllers. Only these two calls look. */
export function wrapperText(crun: string): string {
  return [
    "#!/bin/sh",
    'for word in "$@"; do case $word in',
    `create|run) exec unshare -m --propagation slave sh -c 'umount /sys/fs/cgroup/unified; exec "$@"' -- ${q(crun)} "$@" ;;`,
    `[!-]*) exec ${q(crun)} "$@" ;;`,
    "esac; done",
    `exec ${q(crun)} "$@"`,
    "",
  ].join("\n");
}

/** Takes mounts down, in this order, and again where one lies over another. What is not mounted is passed over. */
export function unmountScript(mountPoints: readonly string[]): string {
  // One command for the ordinary case; what it leaves is looked at one by one.
  const lines = mountPoints.map((point) => `while mountpoint -q ${q(point)}; do umount ${q(point)} || { rc=1; break; }; done`);
  return [`umount ${mountPoints.map(q).join(" ")} && exit 0`, "rc=0", ...lines, "exit $rc"].join("\n");
}
