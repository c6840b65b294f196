import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { writeLayout } from "../../nodes/lab/image.ts";
import { hostOf, type LabLayout, layoutOf } from "../../nodes/lab/layout.ts";
import { mountFile, netFile } from "../../nodes/lab/scripts.ts";
import { requireState } from "../../nodes/lab/state-file.ts";
import { eventually, execute, type Outcome, type TestLab } from "./lab.ts";

const TOP = join(import.meta.dirname, "../..");
const RUN_MS = 60_000;
/** With the image pulled first. */
const STARTED_MS = 60_000;
const TAR_BYTES_MAX = 256 * 1024 * 1024;

/** Ports that every container of these tests serves: its name and the caller's address, how many bytes came, and a sum of them. */
export const PORTS = { who: 9_000, count: 9_001, sum: 9_002 } as const;

/**
 * Datagrams by one process on its own sockets: socat's fork for each of them hangs when several come at once. The empty one behind an answer
 * tells socat that it is whole. Needs none of Perl's modules.
 */
const DATAGRAMS = String.raw`my $name = qx(hostname);
chomp $name;
my ($who, $count) = map {
  socket(my $served, 2, 2, 0) or die "socket: $!";
  bind($served, pack("S n a4 x8", 2, $_, "")) or die "bind: $!";
  $served;
} @ARGV;
for (;;) {
  my $ready = "";
  vec($ready, fileno($_), 1) = 1 for $who, $count;
  next unless select($ready, undef, undef, undef) > 0;
  for my $served ($who, $count) {
    next unless vec($ready, fileno($served), 1);
    my $from = recv($served, my $data, 65535, 0);
    next unless defined $from;
    my $said = $served == $who ? "$name " . join(".", unpack("x4 C4", $from)) : length $data;
    send($served, $_, 0, $from) for "$said\n", "";
  }
}`;

const SERVE = `trap 'exit 0' TERM
socat -t60 TCP4-LISTEN:${PORTS.who},fork,reuseaddr SYSTEM:'read line; echo $(hostname) $SOCAT_PEERADDR' &
perl -e '${DATAGRAMS}' ${PORTS.who} ${PORTS.count} &
socat -u -b 65536 TCP4-LISTEN:${PORTS.sum},fork,reuseaddr SYSTEM:'sha256sum >/tmp/sum.new; mv /tmp/sum.new /tmp/sum' &
while :; do sleep 0.2; done`;

/** An image of busybox, socat and Perl, so that what is tried is tried from inside, with a program's own resolver and rights. */
export async function toolsImage(lab: TestLab): Promise<string> {
  const folder = join(lab.folder, "test/tools");
  const root = join(folder, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  for (const made of ["etc", "tmp", "proc", "sys", "dev"]) mkdirSync(join(root, made));
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  const applets = spawnSync("/bin/busybox", ["--list"], { encoding: "utf8" }).stdout.trim().split("\n");
  for (const applet of applets) if (applet !== "busybox") symlinkSync("busybox", join(root, "bin", applet));
  const programs = ["socat", "perl"].map((name) => spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim());
  const libraries = spawnSync("ldd", programs, { encoding: "utf8" }).stdout.match(/\/\S+(?= \()/g) ?? [];
  for (const file of new Set([...programs, ...libraries])) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  const made = spawnSync("tar", ["-C", root, "--owner=0", "--group=0", "-cf", "-", "."], { maxBuffer: TAR_BYTES_MAX });
  writeLayout(join(folder, "oci"), made.stdout);
  rmSync(root, { recursive: true });
  return lab.image("tools", "--from", `oci:${join(folder, "oci")}:latest`);
}

export type Member = { readonly id: string; readonly name: string; readonly host: number; readonly vpc: string; readonly address: string };
type Status = { readonly phase: string; readonly address: string };

/** Starts a container, which serves if nothing else is asked of it, and waits until it runs and has its address. */
export async function startMember(lab: TestLab, image: string, vpc: string, host: number, words: readonly string[] = [], does = SERVE): Promise<Member> {
  const name = `${vpc}-${host}`;
  const run = ["run", "--detach", "--name", name, "--vpc", vpc, "--host", `h${host}`, "--memory", "128m", "--disk", "64m", "--image", image, ...words];
  const { code, stdout, stderr } = await lab.cc([...run, "--", "sh", "-c", does], { host });
  if (code !== 0) throw new Error(`${name}: ${stderr}`);
  const status = await eventually(
    `${name} runs`,
    async () => {
      const [seen] = await lab.json<Status[]>(["status", name], { host });
      return seen?.phase === "running" && seen;
    },
    STARTED_MS,
  );
  return { id: stdout.trim(), name, host, vpc, address: status.address };
}

/** Runs scripts right inside a lab's namespaces, without starting a program of the lab's for each. */
export class Inside {
  readonly #layout: LabLayout;
  readonly subnet: string;

  constructor(lab: TestLab) {
    const layout = layoutOf(TOP, lab.name);
    if (!layout.ok) throw new Error(layout.message);
    this.#layout = layout.value;
    this.subnet = requireState(layout.value.stateFile).subnet;
  }

  address(host: number): string {
    return hostOf(this.#layout, this.subnet, host, "").address;
  }

  /** On a host itself. */
  on(host: number, script: string): Promise<Outcome> {
    return this.#run([...this.#host(host), "sh", "-c", script]);
  }

  /** In a container's network, as root of its host: what the container itself may not do. */
  by({ host, id }: Pick<Member, "host" | "id">, script: string): Promise<Outcome> {
    return this.#run([...this.#container(host, id), "sh", "-c", script]);
  }

  /** In the network of a VPC on a host. */
  at(host: number, vpc: string, script: string): Promise<Outcome> {
    return this.#run([...this.#vpc(host, vpc), "sh", "-c", script]);
  }

  /** Outside all hosts, on their network: where the registry is. */
  outside(script: string): Promise<Outcome> {
    return this.#run(["nsenter", `--net=${netFile(this.#layout, "registry")}`, "sh", "-c", script]);
  }

  startOn = (host: number, argv: readonly string[]): ChildProcess => start([...this.#host(host), ...argv]);
  startBy = ({ host, id }: Pick<Member, "host" | "id">, argv: readonly string[]): ChildProcess => start([...this.#container(host, id), ...argv]);
  startAt = (host: number, vpc: string, argv: readonly string[]): ChildProcess => start([...this.#vpc(host, vpc), ...argv]);
  startOutside = (argv: readonly string[]): ChildProcess => start(["nsenter", `--net=${netFile(this.#layout, "registry")}`, ...argv]);

  #host(host: number): readonly string[] {
    const plan = hostOf(this.#layout, this.subnet, host, "");
    return ["nsenter", `--mount=${mountFile(this.#layout, plan)}`, `--net=${netFile(this.#layout, plan.name)}`];
  }

  #container = (host: number, id: string): readonly string[] => [...this.#host(host), "nsenter", `--net=/run/cc/containers/${id}/net`];
  #vpc = (host: number, vpc: string): readonly string[] => [...this.#host(host), "nsenter", `--net=/run/cc/vpc/${vpc}/net`];

  #run([program = "", ...words]: readonly string[]): Promise<Outcome> {
    return execute(program, words, { timeoutMs: RUN_MS });
  }
}

/** Of a container's device. */
export const macOf = async (inside: Inside, member: Member): Promise<string> =>
  /link\/ether (\S+)/.exec((await inside.by(member, "ip -o link show eth0")).stdout)?.[1] ?? "";

/** Sends frames as they are given (but for zeros behind them), from inside the container with its own rights: it may open raw sockets. */
export async function sendFrames(lab: TestLab, from: Member, frames: readonly Uint8Array[]): Promise<void> {
  const bytes = Math.max(...frames.map(({ length }) => length));
  const all = Buffer.concat(frames.map((frame) => Buffer.concat([frame, Buffer.alloc(bytes - frame.length)])));
  const script = `base64 -d >/tmp/frames && socat -u -b ${bytes} OPEN:/tmp/frames,rdonly INTERFACE:eth0`;
  const { code, stderr } = await lab.cc(["exec", "-i", from.name, "--", "sh", "-c", script], { host: from.host, input: all.toString("base64") });
  if (code !== 0) throw new Error(`frames could not be sent: ${stderr}`);
}

/** Ends with this process, or when it is told to. */
const start = (argv: readonly string[]): ChildProcess => spawn("setpriv", ["--pdeathsig", "KILL", ...argv], { stdio: ["pipe", "pipe", "inherit"] });

/** Everything that a program printed, once it has ended. */
export async function endOf(child: ChildProcess): Promise<string> {
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString("latin1");
  });
  await new Promise((resolve) => child.once("close", resolve));
  return said;
}
