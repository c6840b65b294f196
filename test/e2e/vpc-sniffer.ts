import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { endOf } from "./vpc-scene.ts";

/** Reads every frame of every device of its network namespace, until its input ends; then says how many there were, and how many with the marker. */
const SNIFFER = String.raw`use Socket;
my ($marker) = @ARGV;
socket(my $wire, 17, SOCK_RAW, unpack("S", pack("n", 3))) or die "socket: $!";
setsockopt($wire, SOL_SOCKET, SO_RCVBUF, pack("i", 4 << 20));
syswrite(STDOUT, "ready\n");
my ($all, $marked, $ends) = (0, 0, 0);
until ($ends) {
  my $ready = "";
  vec($ready, fileno($wire), 1) = 1;
  vec($ready, 0, 1) = 1;
  next unless select($ready, undef, undef, 1) > 0;
  $ends = 1 if vec($ready, 0, 1);
  while (defined recv($wire, my $frame, 65535, 64)) {
    $all++;
    $marked++ if index($frame, $marker) >= 0;
  }
}
print "$all $marked\n";
`;

export type Place = { readonly where: string; readonly vpc: string; readonly start: (argv: readonly string[]) => ChildProcess };
type Seen = { readonly where: string; readonly vpc: string; readonly all: number; readonly marked: number };

/** What of the marker is seen in these places during some work. */
export async function sniff(places: readonly Place[], marker: string, during: () => Promise<void>): Promise<readonly Seen[]> {
  const sniffers = await Promise.all(
    places.map(async (place) => {
      const child = place.start(["perl", "-e", SNIFFER, marker]);
      if (child.stdout === null) throw new Error("a sniffer has no output");
      await once(child.stdout, "data");
      return { ...place, child, said: endOf(child) };
    }),
  );
  await during();
  return Promise.all(
    sniffers.map(async ({ where, vpc, child, said }) => {
      child.stdin?.end();
      const [all = Number.NaN, marked = Number.NaN] = (await said).split(" ").map(Number);
      return { where, vpc, all, marked };
    }),
  );
}
