import { CcError } from "../base/index.ts";

/** linux.seccomp of an OCI runtime configuration. */
export type Seccomp = {
  readonly defaultAction: string;
  readonly defaultErrnoRet: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly SeccompRule[];
};
type SeccompArg = { readonly index: number; readonly value: number; readonly valueTwo?: number; readonly op: string };
type SeccompRule = { readonly names: readonly string[]; readonly action: string; readonly errnoRet?: number; readonly args?: readonly SeccompArg[] };

/** The profile's own names of a machine: libseccomp's architecture and Go's. */
const MACHINES: Readonly<Record<string, { readonly architecture: string; readonly arch: string; readonly cloneFlagsIndex: number }>> = {
  x64: { architecture: "SCMP_ARCH_X86_64", arch: "amd64", cloneFlagsIndex: 0 },
  arm64: { architecture: "SCMP_ARCH_AARCH64", arch: "arm64", cloneFlagsIndex: 0 },
};

/**
 * The profile of the containers project leaves these to the kernel's own checks, which let anybody through in a user
 * namespace of his own: with it a container's process becomes root of a fresh one and reaches the mount and network
 * code of the kernel. As in Docker's profile, without CAP_SYS_ADMIN they are refused.
 */
const ADMIN_ONLY: ReadonlySet<string> = new Set([
  "bpf",
  "clone",
  "clone3",
  "fanotify_init",
  "fsconfig",
  "fsmount",
  "fsopen",
  "fspick",
  "lookup_dcookie",
  "mount",
  "mount_setattr",
  "move_mount",
  "open_tree",
  "perf_event_open",
  "pivot_root",
  "quotactl",
  "quotactl_fd",
  "reboot",
  "setdomainname",
  "sethostname",
  "setns",
  "syslog",
  "umount",
  "umount2",
  "unshare",
  // Keys are not kept apart by namespaces; io_uring passes by this very filter.
  "add_key",
  "keyctl",
  "request_key",
  "io_uring_enter",
  "io_uring_register",
  "io_uring_setup",
]);
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const CLONE_NAMESPACES = 0x7e020000;
const EPERM = 1;
const ENOSYS = 38;

/**
 * The filter of a container, from /usr/share/containers/seccomp.json (Debian: golang-github-containers-common): its
 * rules for this machine's own architecture and the given capabilities, tightened as above. Foreign architectures
 * (i386, x32) are left out on purpose: they cost 16 to 22 ms at every start.
 */
export function seccompFor(profile: unknown, machine: string, capabilities: readonly string[]): Seccomp {
  const native = MACHINES[machine];
  if (native === undefined) throw new CcError("INTERNAL", `no seccomp profile is known for machines of type ${machine}`);
  const rules: SeccompRule[] = [];
  for (const entry of entriesOf(profile)) {
    const { includes, excludes } = entry;
    const applies = (includes.arches.length === 0 || includes.arches.includes(native.arch)) && includes.caps.every((cap) => capabilities.includes(cap));
    const excluded = excludes.arches.includes(native.arch) || excludes.caps.some((cap) => capabilities.includes(cap));
    if (!applies || excluded) continue;
    const names = entry.action === "SCMP_ACT_ALLOW" ? entry.names.filter((name) => !ADMIN_ONLY.has(name)) : entry.names;
    if (names.length === 0) continue;
    rules.push({
      names,
      action: entry.action,
      ...(entry.errnoRet === undefined ? {} : { errnoRet: entry.errnoRet }),
      ...(entry.args.length === 0 ? {} : { args: entry.args }),
    });
  }
  if (rules.length === 0) throw new CcError("INTERNAL", "the seccomp profile allows nothing; is golang-github-containers-common installed?");
  rules.push({
    names: ["clone"],
    action: "SCMP_ACT_ALLOW",
    args: [{ index: native.cloneFlagsIndex, value: CLONE_NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
  });
  // clone3 gets the default, ENOSYS: its flags are behind a pointer that a filter can't follow, and the C library falls back to clone.
  const refused = [...ADMIN_ONLY].filter((name) => name !== "clone" && name !== "clone3" && !rules.some((rule) => rule.names.includes(name)));
  rules.push({ names: refused, action: "SCMP_ACT_ERRNO", errnoRet: EPERM });
  return { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: ENOSYS, architectures: [native.architecture], syscalls: rules };
}

type Condition = { readonly arches: readonly string[]; readonly caps: readonly string[] };
type Entry = {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet: number | undefined;
  readonly args: readonly SeccompArg[];
  readonly includes: Condition;
  readonly excludes: Condition;
};

function entriesOf(profile: unknown): readonly Entry[] {
  return list(field(profile, "syscalls")).map((entry) => {
    const errnoRet = field(entry, "errnoRet");
    return {
      names: texts(field(entry, "names")),
      action: String(field(entry, "action")),
      errnoRet: typeof errnoRet === "number" ? errnoRet : undefined,
      args: list(field(entry, "args")).map((arg) => ({
        index: Number(field(arg, "index")),
        value: Number(field(arg, "value")),
        valueTwo: Number(field(arg, "valueTwo") ?? 0),
        op: String(field(arg, "op")),
      })),
      includes: condition(field(entry, "includes")),
      excludes: condition(field(entry, "excludes")),
    };
  });
}

function condition(value: unknown): Condition {
  return { arches: texts(field(value, "arches")), caps: texts(field(value, "caps")) };
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function texts(value: unknown): readonly string[] {
  return list(value).filter((entry) => typeof entry === "string");
}
