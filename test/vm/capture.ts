import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";

/** Writes every frame that a namespace's devices see to its output, each behind its length; says first that it listens. */
const LISTENER = String.raw`
socket(my $wire, 17, 3, 0x0300) or die "socket: $!";
setsockopt($wire, 1, 33, pack("i", 8 << 20));
$| = 1;
open(my $out, ">", $ARGV[0]) or die;
binmode $out;
$out->autoflush(1) if $out->can("autoflush");
print "listening\n";
while (defined recv($wire, my $frame, 262144, 0)) { syswrite $out, pack("N/a*", $frame) }
`;
const SETTLE_MS = 1_000;
const ENDING_MS = 10_000;

export type Capture = { stop(): Promise<Frames> };

/** Everything that goes over the wire between hosts, whole. */
export async function capture(namespacePath: string, file: string): Promise<Capture> {
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "nsenter", `--net=${namespacePath}`, "perl", "-e", LISTENER, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return { stop: () => stop(child, file) };
}

async function stop(child: ChildProcess, file: string): Promise<Frames> {
  // What was sent is on its way into the file.
  await pause(SETTLE_MS);
  const ended = once(child, "exit", { signal: AbortSignal.timeout(ENDING_MS) });
  child.kill();
  await ended;
  const frames = new Frames(await readFile(file));
  await rm(file);
  return frames;
}

const [IPV4, IPV6, UDP] = [0x0800, 0x86dd, 17];

export class Frames {
  readonly #bytes: Buffer;
  /** UDP by destination port. */
  readonly #udp = new Map<number, number>();

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    for (let at = 0; at + 4 <= bytes.length; ) {
      const length = bytes.readUInt32BE(at);
      this.#count(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
  }

  has(text: string): boolean {
    return this.#bytes.includes(text);
  }

  to(port: number): number {
    return this.#udp.get(port) ?? 0;
  }

  toString(): string {
    return `${[...this.#udp].map(([port, count]) => `${count} to UDP ${port}`).join(", ") || "no UDP"}, ${this.#bytes.length} bytes`;
  }

  #count(frame: Buffer): void {
    const type = frame.length > 14 ? frame.readUInt16BE(12) : 0;
    const udpAt = type === IPV4 && frame[23] === UDP ? 14 + ((frame[14] ?? 0) & 15) * 4 : type === IPV6 && frame[20] === UDP ? 54 : undefined;
    if (udpAt === undefined || frame.length < udpAt + 4) return;
    const port = frame.readUInt16BE(udpAt + 2);
    this.#udp.set(port, (this.#udp.get(port) ?? 0) + 1);
  }
}
