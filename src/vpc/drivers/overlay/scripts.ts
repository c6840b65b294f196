import { shellQuote as q, type VpcId } from "../../../base/index.ts";
import { INSIDE_SYSCTLS } from "../../overlay-model.ts";
import { CONTAINER_DEVICE, pinOf } from "../../overlay-names.ts";
import type { Batch, Plan } from "../../overlay-plan.ts";
import type { AttachLines } from "../../overlay-port.ts";

/**
 * The shell scripts of the driver as text. They run in the overlay's folder and, as a script goes on when the peer that began it is
 * killed, under its lock, which its commands inherit: the next peer's wait for it.
 */
const LOCK_WAIT_S = 20;
/** Somebody had the lock for longer. */
export const BUSY_EXIT = 75;
/** Of a VPC, before what its commands say; and after it, when one of them failed. */
export const BEGIN = "@";
export const FAILED = "!";
/** What was observed lies in a file: it is more than a shell's output may be. */
export const SEEN_FILE = ".seen";

function locked(folder: string, lines: readonly string[]): string {
  return [`cd ${q(folder)} && exec 9<. || exit 1`, `flock -w ${LOCK_WAIT_S} 9 || exit ${BUSY_EXIT}`, ...lines].join("\n");
}

/** The inode number of the namespace that the scripts run in. */
export const ownNamespaceScript = (folder: string): string => locked(folder, ["stat -Lc %i /proc/self/ns/net"]);

/** Two processes a VPC; sysctls are read by the shell itself. */
export function observeScript(folder: string, vpcs: readonly VpcId[]): string {
  const inside = [
    sysctlReader([...INSIDE_SYSCTLS.keys()].map((path) => `/proc/sys/net/${path}`)),
    ...batch("ip -d -j -batch -", ["addr show", "route show", "neigh show nud permanent"]),
    "exec bridge -j fdb show",
  ].join("\n");
  return locked(folder, [
    `exec >${SEEN_FILE} || exit 1`,
    sysctlReader(["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/cc-*/route_localnet", "/proc/sys/net/ipv6/conf/cc-*/disable_ipv6"]),
    "ip -d -j addr show type veth || exit 1",
    ...(vpcs.length === 0 ? [] : [`for vpc in ${vpcs.join(" ")}; do echo "${BEGIN}$vpc"; nsenter --net=${pinOf("$vpc")} sh -c ${q(inside)}; done`]),
    "exit 0",
  ]);
}

/** One digit each, which is all that dash gets: it reads byte by byte, and the kernel has an end behind the first. So `read` says that it failed. */
function sysctlReader(paths: readonly string[]): string {
  return `for f in ${paths.join(" ")}; do v=; read -r v <"$f"; [ -z "$v" ] || echo "\${f#/proc/sys/net/} $v"; done 2>/dev/null`;
}

/** Exit code 0 also when something failed: what, it says. */
export function applyScript(folder: string, plans: readonly { readonly vpc: VpcId | "host"; readonly plan: Plan }[]): string {
  return locked(
    folder,
    plans.flatMap(({ vpc, plan }) => [
      `echo "${BEGIN}${vpc}"; rc=0`,
      ...plan.flatMap((one) => apply(vpc === "host" ? undefined : pinOf(vpc), one)),
      `[ $rc = 0 ] || echo "${FAILED}${vpc}"`,
    ]),
  );
}

function apply(pin: string | undefined, { at, tool, lines }: Batch): readonly string[] {
  const enter = at === "host" ? "" : `nsenter --net=${pin} `;
  switch (tool) {
    case "ip":
    case "bridge":
      return batch(`${enter}${tool} -force -batch -`, lines, " || rc=1");
    case "sysctl":
      return at === "host" ? lines.map((line) => `${assign(line)} || rc=1`) : [`${enter}sh -c ${q(assignAll(lines))} || rc=1`];
    case "pin":
      return [`unshare --net=${pin} sh -c ${q(assignAll(lines))} || rc=1`];
    case "unpin":
      // Lazily: somebody may be on the way into it.
      return [`umount -l ${pin} || rc=1`];
  }
}

const assignAll = (lines: readonly string[]): string => ["rc=0", ...lines.map((line) => `${assign(line)} || rc=1`), "exit $rc"].join("\n");

/** What this kernel does not have is passed over. */
function assign(line: string): string {
  const [path = "", value = ""] = line.split(" ");
  return `[ ! -e /proc/sys/net/${path} ] || echo ${value} >/proc/sys/net/${path}`;
}

function batch(command: string, lines: readonly string[], after = ""): string[] {
  return [`${command} <<'.'${after}`, ...lines, "."];
}

export type PortScript = {
  readonly vpc: VpcId;
  readonly namespacePath: string;
  readonly lines: AttachLines;
  /** An earlier attempt may have left a device there. */
  readonly clear: boolean;
};

/** Stops at what fails. */
export function portScript(folder: string, { vpc, namespacePath, lines, clear }: PortScript): string {
  const container = `nsenter --net=${q(namespacePath)}`;
  const enter = `nsenter --net=${pinOf(vpc)}`;
  // Before there is a device: it takes this over. Loopback keeps its IPv6.
  const prepare = `${assign("ipv6/conf/default/disable_ipv6 1")}; exec ip -batch -`;
  return locked(folder, [
    ...(clear ? [`${container} ip link del ${CONTAINER_DEVICE} 2>/dev/null`] : []),
    ...batch(`${container} sh -c ${q(prepare)}`, lines.container, " || exit 1"),
    ...batch(`${enter} ip -batch -`, lines.vpc, " || exit 1"),
    ...(lines.fdb.length === 0 ? [] : batch(`${enter} bridge -batch -`, lines.fdb, " || exit 1")),
  ]);
}
