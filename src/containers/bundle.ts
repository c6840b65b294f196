import type { Seccomp } from "./seccomp.ts";
import type { ContainerSpec } from "./spec.ts";
import type { ResolvedUser } from "./user.ts";

/** What Docker gives a container's root; everything else is dropped. */
export const CAPABILITIES: readonly string[] = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

/** Covered by an empty file or folder: they tell about the host, or act on it. Docker's list and what has come since. */
const MASKED_PATHS: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];
const READ_ONLY_PATHS: readonly string[] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** Where a container's init lies inside it. */
const INIT_PATH = "/run/.cc-init";
const SHM_BYTES = 64 * 1024 ** 2;
const NOFILE_MAX = 1_048_576;

/** A filter compiled before (base64 of crun's seccomp.bpf) or the rules to compile: crun 1.8 starts 4 ms sooner with the former. */
export type SeccompSource = { readonly kind: "rules"; readonly rules: Seccomp } | { readonly kind: "compiled"; readonly bpfBase64: string };

/** A volume in a container: where it is mounted on the host, and its place in the container, free of links. */
export type BoundVolume = { readonly source: string; readonly path: string; readonly readOnly: boolean };

export type BundleInput = {
  readonly spec: ContainerSpec;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly dir: string;
  readonly user: ResolvedUser;
  readonly hostname: string;
  readonly seccomp: SeccompSource;
  /** Absolute paths on the host. */
  readonly rootfs: string;
  readonly userNamespace: string;
  readonly networkNamespace: string;
  readonly cgroup: string;
  /** Files that appear as /etc/NAME. They lie on the container's own disk, so that filling them fills nothing else. */
  readonly etc: Readonly<Record<string, string>>;
  /** Parents before what lies in them. */
  readonly volumes: readonly BoundVolume[];
  /** A static init on the host, where the spec wants one. */
  readonly init: string | undefined;
  /** The caller's own hard limit of open files: more can't be given without CAP_SYS_RESOURCE. */
  readonly nofileMax: number;
  /** The kernel counts swap (memory.memsw or cgroup v2); else no limit for it can be set. */
  readonly swapCounted: boolean;
};

type Mount = { readonly destination: string; readonly type: string; readonly source: string; readonly options: readonly string[] };

/** The OCI runtime configuration (config.json of a bundle) of a container. */
export function ociConfig(input: BundleInput): object {
  const { spec, user } = input;
  const bounding = [...CAPABILITIES];
  // Only root has them to begin with; others could still gain them from a file's, but for noNewPrivileges.
  const held = user.uid === 0 ? bounding : [];
  const nofile = Math.min(input.nofileMax, NOFILE_MAX);
  return {
    ociVersion: "1.0.2",
    hostname: input.hostname,
    root: { path: input.rootfs, readonly: spec.readOnly },
    process: {
      terminal: false,
      user: { uid: user.uid, gid: user.gid, umask: 0o022, additionalGids: user.additionalGids },
      args: spec.init ? [INIT_PATH, "--", ...input.args] : input.args,
      env: input.env,
      cwd: input.dir,
      noNewPrivileges: true,
      capabilities: { bounding, effective: held, permitted: held, inheritable: [], ambient: [] },
      rlimits: [
        { type: "RLIMIT_NOFILE", soft: nofile, hard: nofile },
        // A core file would go where the host's core_pattern says.
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
      ],
    },
    mounts: mountsOf(input),
    annotations: input.seccomp.kind === "compiled" ? { "run.oci.seccomp_bpf_data": input.seccomp.bpfBase64 } : {},
    linux: {
      namespaces: [
        { type: "pid" },
        { type: "ipc" },
        { type: "uts" },
        { type: "mount" },
        { type: "cgroup" },
        { type: "network", path: input.networkNamespace },
        { type: "user", path: input.userNamespace },
      ],
      cgroupsPath: input.cgroup,
      resources: {
        memory: input.swapCounted ? { limit: spec.memoryBytes, swap: spec.memoryBytes } : { limit: spec.memoryBytes },
        cpu: { shares: spec.cpuShares },
        pids: { limit: spec.pidsMax },
        devices: [{ allow: false, access: "rwm" }],
      },
      sysctl: { "net.ipv4.ping_group_range": "0 65535", "net.ipv4.ip_unprivileged_port_start": "0" },
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READ_ONLY_PATHS,
      ...(input.seccomp.kind === "rules" ? { seccomp: input.seccomp.rules } : {}),
    },
  };
}

function mountsOf(input: BundleInput): readonly Mount[] {
  const quiet = ["nosuid", "noexec", "nodev"];
  const etc = Object.entries(input.etc).map(([name, source]) => ({
    destination: `/etc/${name}`,
    type: "bind",
    source,
    options: ["bind", ...(input.spec.readOnly ? ["ro"] : ["rw"]), ...quiet],
  }));
  const init = input.init === undefined ? [] : [{ destination: INIT_PATH, type: "bind", source: input.init, options: ["bind", "ro", "nosuid", "nodev"] }];
  // Mapped as the container's ids are: on the disk they are what the container sees. Below the files of /etc, if one lies there.
  const volumes = input.volumes.map(({ source, path, readOnly }) => ({
    destination: path,
    type: "bind",
    source,
    options: ["rbind", readOnly ? "ro" : "rw", "nosuid", "nodev", "idmap"],
  }));
  return [
    { destination: "/proc", type: "proc", source: "proc", options: quiet },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"] },
    { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { destination: "/dev/shm", type: "tmpfs", source: "shm", options: [...quiet, "mode=1777", `size=${SHM_BYTES}`] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, "ro"] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [...quiet, "ro", "relatime"] },
    ...volumes,
    ...etc,
    ...init,
  ];
}
