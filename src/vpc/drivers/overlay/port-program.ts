import type { PerlHelper } from "../../../base/index.ts";
import { createPerlHelper } from "../../../host/index.ts";

/**
 * Does what `ip` and `bridge` do for the lines that attach a container, in one kept process instead of nine programs one after another: starting
 * them is what an attach takes. A request begins with the folder that its paths start from, and the pipe in it that is held open meanwhile.
 * `in PATH` goes to a namespace, `set PATH VALUE` writes a sysctl that is there; the numbers are those of the kernel's uapi headers. It stops at the
 * first line that the kernel refuses, or that it does not know.
 */
const PROGRAM = String.raw`
my ($link, $inet);
my %flag = (learning => 8, flood => 9, proxy_arp => 10, mcast_flood => 27, bcast_flood => 30, neigh_suppress => 32, locked => 39);
sub attr { my ($type, $value) = @_; my $bytes = 4 + length $value; pack("S S a*", $bytes, $type, $value) . "\0" x (-$bytes & 3) }
sub word { pack("L", shift) }
sub mac { my ($text) = @_; $text =~ tr/://d; pack("H12", $text) }
sub ip { pack("C4", split(/\./, shift)) }
sub fault { die "@_\n" }
sub device {
  my $request = pack("a16 x24", shift);
  ioctl($inet, 0x8933, $request) or fault($!);
  unpack("x16 l", $request);
}
sub ask {
  my ($type, $flags, $body) = @_;
  send($link, pack("L S S L L", 16 + length $body, $type, 5 | $flags, 1, 0) . $body, 0, pack("S S L L", 16, 0, 0, 0)) or fault($!);
  defined recv($link, my $answer, 8192, 0) or fault($!);
  my ($kind, $error) = unpack("x4 S x10 l", $answer);
  $kind == 2 or fault("no answer");
  $! = -$error;
  $error == 0 or fault($!);
}
sub change { my ($name, $flags, $attributes) = @_; ask(16, 0, pack("x4 l L L", device($name), $flags, $flags) . $attributes) }
sub act {
  local $_ = shift;
  if (/^in (.+)$/) {
    enter($1) or fault($!);
    socket($link, 16, 3, 0) && socket($inet, 2, 2, 0) or fault($!);
    setsockopt($link, 1, 20, pack("q q", 5, 0));
  } elsif (/^set (\S+) (\S+)$/) {
    return unless -e "/proc/sys/net/$1";
    open(my $file, ">", "/proc/sys/net/$1") or fault($!);
    syswrite($file, $2) or fault($!);
  } elsif (/^link add (\S+) address (\S+) mtu (\d+) type veth peer name (\S+) mtu (\d+) netns (\S+)$/) {
    open(my $there, "<", $6) or fault($!);
    my $peer = pack("x16") . attr(3, "$4\0") . attr(4, word($5)) . attr(28, word(fileno $there));
    ask(16, 0x600, pack("x16") . attr(3, "$1\0") . attr(1, mac($2)) . attr(4, word($3)) . attr(18, attr(1, "veth") . attr(2, attr(1, $peer))));
  } elsif (/^link set (\S+) up$/) {
    change($1, 1, "");
  } elsif (/^link set (\S+) mtu (\d+)$/) {
    change($1, 0, attr(4, word($2)));
  } elsif (/^link set (\S+) alias (.+)$/) {
    change($1, 0, attr(20, $2));
  } elsif (/^link set (\S+) master (\S+)$/) {
    change($1, 0, attr(10, word(device($2))));
  } elsif (/^link set (\S+) type bridge_slave (.+)$/) {
    my ($name, %wanted) = ($1, split(/ /, $2));
    my $data = join("", map { attr($flag{$_} // fault("$_ is not known"), pack("C", $wanted{$_} eq "on")) } sort keys %wanted);
    change($name, 0, attr(18, attr(1, "bridge_slave") . attr(5, $data)));
  } elsif (/^addr add (\S+)\/(\d+) dev (\S+)$/) {
    ask(20, 0x600, pack("C C x2 L", 2, $2, device($3)) . attr(2, ip($1)) . attr(1, ip($1)));
  } elsif (/^route add default via (\S+) dev (\S+)$/) {
    ask(24, 0x600, pack("C x3 C C C C x4", 2, 254, 3, 0, 1) . attr(5, ip($1)) . attr(4, word(device($2))));
  } elsif (/^neigh replace (\S+) lladdr (\S+) dev (\S+) nud permanent$/) {
    ask(28, 0x500, pack("C x3 l S x2", 2, device($3), 0x80) . attr(1, ip($1)) . attr(2, mac($2)));
  } elsif (/^fdb replace (\S+) dev (\S+) master static$/) {
    ask(28, 0x500, pack("C x3 l S C x", 7, device($2), 0x42, 4) . attr(2, mac($1)));
  } else {
    fault("not known");
  }
}
sub answer {
  my ($folder, $pipe, @lines) = split(/\n/, shift);
  eval {
    chdir $folder and open(my $held, "+<", $pipe) or die "$folder: $!\n";
    for my $line (@lines) { eval { act($line); 1 } or die "$line: $@" }
  };
  ($link, $inet) = ();
  my $said = $@;
  chdir "/";
  ($said ne "" ? 1 : 0, $said);
}
`;

/** Kept where the overlay is: one for each driver. */
export const createPortProgram = (): PerlHelper => createPerlHelper(PROGRAM);
