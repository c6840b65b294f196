import { CcError, shellQuote as q, type VpcId } from "../../../base/index.ts";
import { SETNS } from "../../../host/index.ts";
import { INSIDE_SYSCTLS } from "../../overlay-model.ts";
import { CONTAINER_DEVICE, pinOf } from "../../overlay-names.ts";
import type { Batch, Plan } from "../../overlay-plan.ts";
import type { AttachLines } from "../../overlay-port.ts";
import { HOST_SECTION } from "../../overlay-seen.ts";

/**
 * The shell scripts of the driver as text. They run in the overlay's folder. A script goes on when the peer that began it is killed, so each
 * holds a named pipe open, as do its commands: the next peer waits until nobody has it. A lock would cost each script one more process.
 */
const BUSY_PIPE = ".busy";
const BUSY_LOOKS_MAX = 400;
/** Somebody had the pipe all the time. */
export const BUSY_EXIT = 75;
/** Of a VPC, before what its commands say; and after it, when one of them failed. */
export const BEGIN = "@";
export const FAILED = "!";
/** What was observed lies in a file: it is more than a shell's output may be. */
export const SEEN_FILE = ".seen";

/** Waits for an earlier peer's commands; says the inode number of the namespace that the scripts run in. */
export function openScript(folder: string): string {
  // Opened for writing without waiting, a pipe says whether anybody could read it.
  const wait = `for (1..${BUSY_LOOKS_MAX}) { sysopen(my $pipe, "${BUSY_PIPE}", 2049) or exit 0; close $pipe; select(undef, undef, undef, 0.05) } exit ${BUSY_EXIT}`;
  return [
    `cd ${q(folder)} || exit 1`,
    `[ -p ${BUSY_PIPE} ] || mkfifo -m 600 ${BUSY_PIPE} || exit 1`,
    `perl -e ${q(wait)} || exit ${BUSY_EXIT}`,
    "stat -Lc %i /proc/self/ns/net",
  ].join("\n");
}

const begun = (folder: string, lines: readonly string[]): string => [`cd ${q(folder)} && exec 9<>${BUSY_PIPE} || exit 1`, ...lines].join("\n");

/**
 * Visits the host's namespace and those of VPCs, and writes what the kernel dumps of each. Perl, which is on every Debian (perl-base is
 * essential): neither Node nor a shell can open such a socket, and `ip` and `bridge` are two processes for each of 200 VPCs.
 */
const OBSERVER = `
my ($setns, @inside) = (shift, split(",", shift));
binmode STDOUT;
for my $name (@ARGV) {
  my $isHost = $name eq "${HOST_SECTION}";
  my ($sysctls, @dumps) = ("");
  my $isOpen = open(my $ns, "<", $isHost ? "/proc/self/ns/net" : "$name/net");
  if ($isOpen and syscall($setns, fileno($ns), 0x40000000) == 0 and socket(my $link, 16, 3, 0)) {
    my @paths = @inside;
    if ($isHost and opendir(my $devices, "/proc/sys/net/ipv4/conf")) {
      @paths = ("ipv4/ip_forward", map { ("ipv4/conf/$_/route_localnet", "ipv6/conf/$_/disable_ipv6") } grep { /^cc-/ } readdir $devices);
    }
    for my $path (@paths) {
      open(my $file, "<", "/proc/sys/net/$path") or next;
      $sysctls .= "$path " . <$file>;
    }
    setsockopt($link, 1, 20, pack("q q", 5, 0));
    for my $ask ([18, 0, 16], [22, 2, 8], [26, 2, 12], [30, 2, 12], [30, 7, 12]) {
      my ($type, $family, $bytes) = @$ask;
      last if $isHost and $type > 22;
      send($link, pack("L S S L L C x" . ($bytes - 1), 16 + $bytes, $type, 0x301, 1, 0, $family), 0, pack("S S L L", 16, 0, 0, 0)) or last;
      my ($dump, $part, $last) = ("", "", 0);
      while ($last != 3 and $last != 2 and defined recv($link, $part, 1048576, 0) and $part ne "") {
        $dump .= $part;
        for (my ($at, $length) = (0, 0); $at + 16 <= length $part; $at += ($length + 3) & ~3) {
          ($length, $last) = unpack("x$at L S", $part);
          last if $length < 16;
        }
      }
      push @dumps, $dump;
    }
  }
  print pack("N/a* N/a* N", $name, $sysctls, scalar @dumps), map { pack("N/a*", $_) } @dumps;
}`;

export function observeScript(folder: string, vpcs: readonly VpcId[]): string {
  const setns = SETNS[process.arch];
  if (setns === undefined) throw new CcError("INTERNAL", `networks of VPCs are not known to work on ${process.arch} processors`);
  const words = [String(setns), [...INSIDE_SYSCTLS.keys()].join(","), HOST_SECTION, ...vpcs];
  return begun(folder, [`exec perl -e ${q(OBSERVER)} ${words.join(" ")} >${SEEN_FILE}`]);
}

/** Exit code 0 also when something failed: what, it says. */
export function applyScript(folder: string, plans: readonly { readonly vpc: VpcId | "host"; readonly plan: Plan }[]): string {
  return begun(
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
};

const NO_IPV6 = "ipv6/conf/default/disable_ipv6 1";

/** What our own program is asked, as `portScript` has it done by `ip` and `bridge`. */
export function portRequest(folder: string, { vpc, namespacePath, lines }: PortScript): string {
  const { container, vpc: inside, fdb } = lines;
  return [idleRequest(folder), `in ${namespacePath}`, `set ${NO_IPV6}`, ...container, `in ${pinOf(vpc)}`, ...inside, ...fdb].join("\n");
}

/** Of the same program: nothing but an answer. */
export const idleRequest = (folder: string): string => [folder, BUSY_PIPE].join("\n");

/** Takes away what an earlier attempt left half-made, and stops at what fails. */
export function portScript(folder: string, { vpc, namespacePath, lines }: PortScript): string {
  const container = `nsenter --net=${q(namespacePath)}`;
  const fdb = lines.fdb.length === 0 ? [] : batch("exec bridge -batch -", lines.fdb);
  return begun(folder, [
    `${container} ip link del ${CONTAINER_DEVICE} 2>/dev/null`,
    // Before there is a device: it takes this over. Loopback keeps its IPv6.
    ...within(container, [assign(NO_IPV6), ...batch("exec ip -batch -", lines.container)]),
    ...within(`nsenter --net=${pinOf(vpc)}`, [...batch("ip -batch -", lines.vpc, " || exit 1"), ...fdb]),
  ]);
}

/** A shell there, which costs less than entering once more. */
const within = (enter: string, lines: readonly string[]): readonly string[] => [`${enter} sh <<'..' || exit 1`, ...lines, ".."];
