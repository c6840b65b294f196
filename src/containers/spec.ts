import type { ContainerId, VolumeId } from "../base/index.ts";

export type RestartPolicy = "no" | "on-failure" | "always";

/** A volume, and where in the container it lies: an absolute path, normalised. */
export type VolumeMount = { readonly id: VolumeId; readonly path: string; readonly readOnly: boolean };

/** What one container is to be, complete: every default filled in, every value checked. Sizes in bytes, times in ms. */
export type ContainerSpec = {
  readonly id: ContainerId;
  /** Empty: it has none, and is spoken of by its id. */
  readonly name: string;
  readonly image: string;
  /** Replaces the image's command (its entrypoint stays), as in `docker run IMAGE CMD`. Empty: the image's own. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** `name`, `uid`, `name:group`, `uid:gid`; empty: the image's. */
  readonly user: string;
  /** Working directory, made when missing; empty: the image's. */
  readonly dir: string;
  readonly memoryBytes: number;
  /** 1024 = one core's weight. */
  readonly cpuShares: number;
  readonly diskBytes: number;
  readonly pidsMax: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly restart: RestartPolicy;
  readonly readOnly: boolean;
  readonly init: boolean;
  /** `SIGTERM` and the like; empty: the image's, else SIGTERM. */
  readonly stopSignal: string;
  readonly stopTimeoutMs: number;
  readonly logFileBytes: number;
  readonly logFiles: number;
  readonly stdinOpen: boolean;
  /** Removed as soon as it has ended, however it ended. */
  readonly removeWhenEnded: boolean;
  /** How long it is kept once it has ended by itself. */
  readonly keepEndedMs: number;
  /** Parents before what lies in them. */
  readonly volumes: readonly VolumeMount[];
};

/** What a user leaves out. README's table of `cc run` says the same. */
export const SPEC_DEFAULTS = {
  memoryBytes: 512 * 1024 ** 2,
  cpuShares: 1024,
  // Sparse, but counted against the host's disk. The image's layers are shared and not in it; what grows large belongs
  // into a volume. So a host with a 32 GB card still takes a dozen containers.
  diskBytes: 2 * 1024 ** 3,
  pidsMax: 1024,
  restart: "no",
  stopTimeoutMs: 10_000,
  logFileBytes: 10 * 1024 ** 2,
  logFiles: 3,
  keepEndedMs: 24 * 3_600_000,
} as const;

/** Bounds of a spec, both inclusive. */
export const SPEC_LIMITS = {
  /** The whole message, in its binary form. */
  bytesMax: 64 * 1024,
  imageBytesMax: 512,
  commandWordsMax: 1024,
  envMax: 512,
  envNameBytesMax: 256,
  labelsMax: 64,
  labelKeyBytesMax: 128,
  labelValueBytesMax: 256,
  dirBytesMax: 1024,
  // The runtime's own set-up is charged to the container before its first instruction.
  memoryBytes: [16 * 1024 ** 2, 64 * 1024 ** 4],
  // The kernel's own bounds of cpu.shares.
  cpuShares: [2, 262_144],
  diskBytes: [16 * 1024 ** 2, 16 * 1024 ** 4],
  // The init, a shell and a few children; below, nothing starts.
  pidsMax: [4, 4_194_304],
  stopTimeoutMs: [1, 3_600_000],
  logFileBytes: [64 * 1024, 1024 ** 3],
  logFiles: [1, 100],
  // Each is a mount, made in turn before the process starts.
  volumesMax: 32,
  volumePathBytesMax: 1024,
  keepEndedMs: [1, 10 * 365 * 86_400_000],
} as const satisfies Record<string, number | readonly [number, number]>;

/** Linux signals by name; real-time ones as `SIGRTMIN+n` are accepted too (isSignal). */
const SIGNALS = new Set(
  (
    "HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ " +
    "VTALRM PROF WINCH IO POLL PWR SYS"
  ).split(" "),
);

/**
 * The one spelling of a signal (`SIGTERM`) for `term`, `TERM`, `SIGTERM`, `15`, `SIGRTMIN+3`; undefined for what is none.
 * Images name theirs in any of these.
 */
export function signalName(text: string): string | undefined {
  const upper = text.trim().toUpperCase();
  const numbered = /^\d{1,2}$/.exec(upper);
  if (numbered !== null) return SIGNAL_NUMBERS.get(Number(upper));
  const bare = upper.startsWith("SIG") ? upper.slice(3) : upper;
  if (SIGNALS.has(bare)) return `SIG${bare}`;
  const realTime = /^RT(?:MIN\+(\d{1,2})|MAX-(\d{1,2})|MIN|MAX)$/.exec(bare);
  return realTime !== null && Number(realTime[1] ?? realTime[2] ?? 0) <= 30 ? `SIG${bare}` : undefined;
}

const SIGNAL_NUMBERS: ReadonlyMap<number, string> = new Map([
  [1, "SIGHUP"],
  [2, "SIGINT"],
  [3, "SIGQUIT"],
  [4, "SIGILL"],
  [5, "SIGTRAP"],
  [6, "SIGABRT"],
  [7, "SIGBUS"],
  [8, "SIGFPE"],
  [9, "SIGKILL"],
  [10, "SIGUSR1"],
  [11, "SIGSEGV"],
  [12, "SIGUSR2"],
  [13, "SIGPIPE"],
  [14, "SIGALRM"],
  [15, "SIGTERM"],
  [17, "SIGCHLD"],
  [18, "SIGCONT"],
  [19, "SIGSTOP"],
  [20, "SIGTSTP"],
  [21, "SIGTTIN"],
  [22, "SIGTTOU"],
  [23, "SIGURG"],
  [24, "SIGXCPU"],
  [25, "SIGXFSZ"],
  [26, "SIGVTALRM"],
  [27, "SIGPROF"],
  [28, "SIGWINCH"],
  [29, "SIGIO"],
  [30, "SIGPWR"],
  [31, "SIGSYS"],
]);
