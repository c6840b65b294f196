import { CcError, type CommandOutcome, type PerlHelper } from "../../../base/index.ts";
import { createPerlHelper } from "../../../host/index.ts";

const GENERATIONS_MS_MAX = 30_000;
/** 10,000 published ports in one transaction take a third of a second. */
const TRANSACTION_MS_MAX = 30_000;

/**
 * `transact` gives nft the lines that follow, in the namespace at the path behind the word: without a shell and nsenter, since each program that is
 * started takes as long as what nft does. `generations` asks nf_tables of the namespaces at the paths that follow, one a line, for their generation:
 * a number that grows by one with every transaction that changes anything (NFT_MSG_GETGEN); a program for each of 200 would take 20 times as long.
 * The path `.`: where the program is at home.
 */
const PROGRAM = String.raw`
# nft makes eight large tables in memory for each transaction. Asking the kernel for each and giving it back took a fifth of its time.
$ENV{GLIBC_TUNABLES} = "glibc.malloc.mmap_threshold=33554432";
sub generation {
  my ($path) = @_;
  enter($path eq "." ? "/proc/$$/fd/" . fileno($home) : $path) and socket(my $netlink, 16, 3, 12) or return "-";
  setsockopt($netlink, 1, 20, pack("q q", 2, 0));
  send($netlink, pack("L S S L L C C n", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0), 0, pack("S S L L", 16, 0, 0, 0));
  defined recv($netlink, my $answer, 8192, 0) or return "-";
  my ($length, $type) = unpack("L S", $answer);
  $type == (10 << 8 | 15) && length $answer >= 28 ? unpack("x24 N", $answer) : "-";
}
# The next child is there before it is asked for: it waits at home for a path, goes there and becomes nft, whose input is what follows.
my @waiting;
sub idle {
  return if @waiting;
  pipe(my $input, my $give) and pipe(my $take, my $output) and defined(my $child = fork) or return;
  return @waiting = ($child, $give, $take) if $child;
  close($give);
  open(STDIN, "<&", $input) and open(STDOUT, ">&", $output) and open(STDERR, ">&", $output) or kill("KILL", $$);
  my ($path, $next) = ("", "");
  while ($next ne "\n") {
    $path .= $next;
    # Nobody will ask any more.
    sysread(STDIN, $next, 1) or kill("KILL", $$);
  }
  ($path eq "." or enter($path)) and exec("nft", "-f", "-");
  print STDERR "$path: nft cannot be started: $!\n";
  kill("KILL", $$);
}
sub transact {
  idle();
  my ($child, $give, $take) = splice(@waiting) or return (1, "nft cannot be started: $!");
  {
    # One that ends without reading all says why.
    local $SIG{PIPE} = "IGNORE";
    print $give shift;
    close($give);
  }
  my $said = do { local $/; <$take> };
  waitpid($child, 0);
  ($? & 127 ? 128 + ($? & 127) : $? >> 8, $said);
}
sub answer {
  my ($word, $rest) = split(/[ \n]/, shift, 2);
  $word eq "transact" ? transact($rest) : (0, join("\n", map { generation($_) } split(/\n/, $rest)));
}
`;

/** Kept where the firewall is: one for each driver. */
export const createNftProgram = (): PerlHelper => createPerlHelper(PROGRAM);

/** For a path: the namespace of the program itself. */
const OWN = ".";

/** One transaction in a namespace; without a path in the program's own, the host's. */
export const transact = (program: PerlHelper, path: string | undefined, text: string): Promise<CommandOutcome> =>
  program.ask(`transact ${path ?? OWN}\n${text}`, { timeoutMs: TRANSACTION_MS_MAX });

/** For each path of a namespace its generation; undefined where there is none any more. `undefined` as a path: the program's own. */
export async function readGenerations(program: PerlHelper, paths: readonly (string | undefined)[]): Promise<readonly (number | undefined)[]> {
  if (paths.length === 0) return [];
  const request = ["generations", ...paths.map((path) => path ?? OWN)].join("\n");
  const { exitCode, stdout } = await program.ask(request, { timeoutMs: GENERATIONS_MS_MAX });
  const lines = stdout.split("\n");
  if (exitCode !== 0 || lines.length !== paths.length) {
    throw new CcError("INTERNAL", `the state of the firewall cannot be read: ${stdout.trim().slice(0, 400)}`);
  }
  return lines.map((line) => (/^\d+$/.test(line) ? Number(line) : undefined));
}
