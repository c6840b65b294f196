import { CcError, type PerlHelper } from "../base/index.ts";
import { keep } from "./kept-helper.ts";

/** setns(2), as its processors number it. */
export const SETNS: Readonly<Record<string, number>> = { x64: 308, arm64: 268 };

/**
 * Around the program. `enter PATH` goes to a network namespace, and false says that it is not there; after each request it
 * comes back, so that it holds nobody's namespace alive: where it cannot, it ends.
 */
const FRAME = String.raw`
my $setns = shift;
my $isAway = 0;
open(my $home, "<", "/proc/self/ns/net") or die "/proc/self/ns/net: $!";
sub enter {
  open(my $there, "<", shift) or return 0;
  syscall($setns, fileno($there), 0x40000000) == 0 or return 0;
  $isAway = 1;
}
sub main {
  $| = 1;
  while (1) {
    idle() if defined &idle;
    defined(my $head = <STDIN>) or last;
    my ($mark, $bytes) = split(" ", $head);
    read(STDIN, my $request, $bytes) == $bytes or last;
    my ($code, $said) = answer($request);
    !$isAway or syscall($setns, fileno($home), 0x40000000) == 0 or exit 1;
    $isAway = 0;
    print "$said\n$mark $code\n";
  }
}
`;

/**
 * Keeps a program of ours in Perl, which is on every Debian (perl-base is essential): it can enter namespaces and open the
 * kernel's sockets, as neither Node nor a shell can, and starting one for each thing to do takes longer than doing it. The
 * program's `sub answer` gets a request, and returns an exit code and what there is to say. Before it waits for one, its `sub idle`
 * is called if it has one.
 */
export function createPerlHelper(program: string): PerlHelper {
  const setns = SETNS[process.arch];
  const kept = keep({
    name: "the Perl helper",
    argv: ["perl", "-e", `${FRAME}${program}\nmain();`, String(setns)],
    feed: (request, mark) => `${mark} ${Buffer.byteLength(request)}\n${request}`,
  });
  return {
    ask: async (request, options) => {
      if (setns === undefined) throw new CcError("INTERNAL", `networks of VPCs are not known to work on ${process.arch} processors`);
      return kept.run(request, options);
    },
    close: () => kept.close(),
  };
}
