import { existsSync, globSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { TOP } from "../bench-lab.ts";
import { outputOf } from "../timed-run.ts";
import type { Pair } from "./by-hand.ts";
import { inside, type Place, type Places } from "./places.ts";

const FOLDER = join(TOP, ".cache/bench/iperf3");
const PORT = 5_201;
const ECHO_PORT = 5_202;
const SECONDS = 2;
/** Payload of the packets that are counted: small ones, since it is packets that cost. */
const PACKET_BYTES = 64;
const ROUND_TRIPS = 4_000;
const READY_MS = 10_000;

/** clock_gettime(2), as its processors number it. */
const CLOCK_GETTIME: Readonly<Record<string, number>> = { x64: 228, arm64: 113 };

/** Blocking calls and nothing else: Node's loop alone would take longer than the way there and back. */
const ECHO = `use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); bind(S, sockaddr_in(${ECHO_PORT}, INADDR_ANY)) or die; while (1) { my $from = recv(S, my $packet, 2048, 0); send(S, $packet, 0, $from) }`;
const ASK = `
use Socket;
my ($gettime, $address, $count) = @ARGV;
sub now { my $time = "\\0" x 16; syscall($gettime, 1, $time); my ($s, $ns) = unpack("q q", $time); $s * 1e6 + $ns / 1e3 }
socket(S, PF_INET, SOCK_DGRAM, 0);
setsockopt(S, SOL_SOCKET, SO_RCVTIMEO, pack("q q", 2, 0));
connect(S, sockaddr_in(${ECHO_PORT}, inet_aton($address))) or die "connect: $!";
my @took;
for (1..$count + 100) {
  my $from = now();
  send(S, "x" x ${PACKET_BYTES}, 0);
  defined recv(S, my $back, 2048, 0) or die "no answer";
  push @took, now() - $from;
}
printf("%.1f\\n", $_) for @took[100..$#took];`;

/** Debian's iperf3 and its libraries, unpacked into the checkout instead of being installed. */
export async function fetchIperf(signal: AbortSignal): Promise<void> {
  if (existsSync(join(FOLDER, "usr/bin/iperf3"))) return;
  mkdirSync(FOLDER, { recursive: true });
  const script = `cd "$1"; apt-get -q download iperf3 libiperf0 libsctp1 >/dev/null 2>&1 || { apt-get -q update >/dev/null; apt-get -q download iperf3 libiperf0 libsctp1 >/dev/null; }
for file in *.deb; do dpkg-deb --extract "$file" .; done`;
  await outputOf(["sh", "-ec", script, "sh", FOLDER], signal);
}

const environment = (): Record<string, string> => ({ LD_LIBRARY_PATH: globSync(join(FOLDER, "usr/lib/*-linux-gnu")).join(":") });
const iperf = (...words: readonly string[]): string[] => [join(FOLDER, "usr/bin/iperf3"), ...words];

/** What answers there, until the bench ends. */
export async function serve(places: Places, place: Place, signal: AbortSignal): Promise<void> {
  places.start(inside(place, ...iperf("--server")), environment());
  places.start(inside(place, "perl", "-e", ECHO));
  for (let waitedMs = 0; waitedMs < READY_MS; waitedMs += 50) {
    const there = await places.run(place, "cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp");
    if ([PORT, ECHO_PORT].every((port) => there.includes(`:${port.toString(16).toUpperCase().padStart(4, "0")} `))) return;
    await pause(50, undefined, { signal });
  }
  throw new Error("iperf3 does not listen");
}

type Sum = { readonly bits_per_second: number; readonly packets?: number; readonly lost_packets?: number; readonly seconds: number };

async function measure(pair: Pair, words: readonly string[], signal: AbortSignal): Promise<{ readonly sum?: Sum; readonly sum_received?: Sum }> {
  const argv = inside(pair.from, ...iperf("--client", pair.address, "--time", String(SECONDS), "--json", ...words));
  const { end }: { end: { sum?: Sum; sum_received?: Sum } } = JSON.parse(await outputOf(argv, signal, environment()));
  return end;
}

/** Gbit/s as the receiver counts. */
export async function tcp(pair: Pair, streams: number, signal: AbortSignal): Promise<number> {
  const { sum_received } = await measure(pair, ["--parallel", String(streams)], signal);
  if (sum_received === undefined) throw new Error("iperf3 said nothing of what was received");
  return sum_received.bits_per_second / 1e9;
}

/** Thousands of packets a second that arrive when as many as possible are sent. */
export async function packets(pair: Pair, signal: AbortSignal): Promise<number> {
  const { sum } = await measure(pair, ["--udp", "--bitrate", "0", "--length", String(PACKET_BYTES)], signal);
  if (sum?.packets === undefined || sum.lost_packets === undefined) throw new Error("iperf3 said nothing of packets");
  return (sum.packets - sum.lost_packets) / sum.seconds / 1_000;
}

/** Microseconds there and back, one packet after another. */
export async function roundTrips(pair: Pair, signal: AbortSignal): Promise<number[]> {
  const gettime = CLOCK_GETTIME[process.arch];
  if (gettime === undefined) throw new Error(`the bench has no clock for ${process.arch} processors`);
  const said = await outputOf(inside(pair.from, "perl", "-e", ASK, String(gettime), pair.address, String(ROUND_TRIPS)), signal);
  return said.trim().split("\n").map(Number);
}
