import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";

/** For so long; in an emulated machine nobody knows how much that is. */
const SECONDS = 8;
const PORT = 9_001;
const LIMIT_MS = 120_000;

/** Takes everything, then says how much that was. */
const SERVER = `use Socket;
my $total = 0;
socket(S, PF_INET, SOCK_STREAM, 6); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(${PORT}, INADDR_ANY)) or die "bind: $!"; listen(S, 1);
accept(C, S) or die "accept: $!";
while (my $got = sysread(C, my $buffer, 1 << 20)) { $total += $got }
syswrite C, $total;`;

/** Sends for some seconds; prints how many bytes arrived, and the seconds until it knew. */
const CLIENT = String.raw`use Socket;
sub now { open(my $file, "<", "/proc/uptime"); (split / /, <$file>)[0] }
my ($to, $seconds, $block) = (@ARGV, "x" x 65536);
for (1..100) { socket(S, PF_INET, SOCK_STREAM, 6); last if connect(S, sockaddr_in(${PORT}, inet_aton($to))); select(undef, undef, undef, 0.1) }
my $start = now;
while (now() - $start < $seconds) { syswrite(S, $block) // die "write: $!" }
shutdown(S, 1);
sysread(S, my $total, 32);
printf "%s %s\n", $total, now() - $start;`;

/** MB/s of one TCP stream, in blocks of 64 KiB, from one network namespace to an address in another. */
export async function streamRate(from: string, to: string, address: string): Promise<number> {
  const within = (namespace: string, program: string, ...words: readonly string[]) => {
    const argv = ["--pdeathsig", "KILL", "nsenter", `--net=${namespace}`, "perl", "-e", program, ...words];
    return spawn("setpriv", argv, { stdio: ["ignore", "pipe", "inherit"], timeout: LIMIT_MS, killSignal: "SIGKILL" });
  };
  const server = within(to, SERVER);
  const [bytes = 0, seconds = 0] = (await text(within(from, CLIENT, address, String(SECONDS)).stdout)).split(" ").map(Number);
  await text(server.stdout);
  return bytes / 1e6 / Math.max(1, seconds);
}
