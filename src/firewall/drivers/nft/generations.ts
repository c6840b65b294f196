import { CcError, type ShellHelper, shellQuote } from "../../../base/index.ts";

const GENERATIONS_MS_MAX = 30_000;

/** setns(2), as its processors number it. */
const SETNS: Readonly<Record<string, number>> = { x64: 308, arm64: 268 };

/**
 * Asks nf_tables of each namespace for its generation, a number that grows by one with every transaction that changes anything
 * (NFT_MSG_GETGEN). Perl, since it is on every Debian (perl-base is essential), visits 200 namespaces in one process of 40 ms, and
 * neither Node nor a shell can open such a socket; a program for each namespace, as nft needs, would take 20 times as long.
 */
const PROGRAM = `
my $setns = shift;
for my $path (@ARGV) {
  my $generation = "-";
  if (open(my $ns, "<", $path)) {
    if (syscall($setns, fileno($ns), 0x40000000) == 0 && socket(my $netlink, 16, 3, 12)) {
      setsockopt($netlink, 1, 20, pack("q q", 2, 0));
      send($netlink, pack("L S S L L C C n", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0), 0, pack("S S L L", 16, 0, 0, 0));
      if (defined recv($netlink, my $answer, 8192, 0)) {
        my ($length, $type) = unpack("L S", $answer);
        $generation = unpack("x24 N", $answer) if $type == (10 << 8 | 15) && length $answer >= 28;
      }
    }
  }
  print "$generation\\n";
}`;

/** For each path of a namespace its generation; undefined where there is none any more. `undefined` as a path: the shell's own, which is asked first. */
export async function readGenerations(shell: ShellHelper, paths: readonly (string | undefined)[]): Promise<readonly (number | undefined)[]> {
  if (paths.length === 0) return [];
  const setns = SETNS[process.arch];
  if (setns === undefined) throw new CcError("INTERNAL", `the firewall knows no ${process.arch} processors`);
  // The program leaves its namespace with the first path that it visits, and the shell's own is named by its process.
  const words = paths.map((path) => (path === undefined ? '"/proc/$$/ns/net"' : shellQuote(path)));
  const { exitCode, stdout } = await shell.run(`perl -e ${shellQuote(PROGRAM)} ${setns} ${words.join(" ")}`, { timeoutMs: GENERATIONS_MS_MAX });
  const lines = stdout.trim().split("\n");
  if (exitCode !== 0 || lines.length !== paths.length) {
    throw new CcError("INTERNAL", `the state of the firewall cannot be read; is perl installed? ${stdout.trim().slice(0, 400)}`);
  }
  return lines.map((line) => (/^\d+$/.test(line) ? Number(line) : undefined));
}
