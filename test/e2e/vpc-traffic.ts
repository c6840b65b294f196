import type { Test } from "tap";
import { eventually, type TestLab } from "./lab.ts";
import { endOf, type Inside, type Member, PORTS } from "./vpc-scene.ts";

const MIB = 1024 * 1024;
/** From each container to the next. `npm run test:vpc` sends 1 GiB. */
const BYTES = Number(process.env["CC_TEST_VPC_BYTES"] ?? 32 * MIB);
const BLOCK_BYTES = 8 * MIB;
const SUM_MS = 400_000;
/** Headers of IP and UDP. */
const HEADERS_BYTES = 28;
/** A host looks at its way to the others every 8 s, and tells them. */
const FOLLOWED_MS = 60_000;

const textOf = async (lab: TestLab, { name, host }: Member, script: string, timeoutMs = 60_000): Promise<string> =>
  (await lab.cc(["exec", name, "--", "sh", "-c", script], { host, timeoutMs })).stdout;

const lines = (text: string): string[] => text.trimEnd().split("\n").toSorted();

/** Each asks once: neighbours are known, so not even the first datagram may be lost. */
const CALLS = `call() { echo hello | socat -t$3 -T$3 - "$2" 2>&1; }
tcp() { echo "tcp $1 $(call $1 TCP4:$1:${PORTS.who},connect-timeout=15 15)"; }
udp() { echo "udp $1 $(call $1 UDP4:$1:${PORTS.who},null-eof 15)"; }
known() { n=0; until nslookup $1 | grep -q '^Name:' || [ $n -gt 50 ]; do n=$((n+1)); sleep 0.2; done; }`;

/** Every pair both ways, by name and by address, by TCP and by UDP, from inside; who is called sees the caller's own address. */
export async function everyPair(t: Test, lab: TestLab, members: readonly Member[]): Promise<void> {
  const targets = members.flatMap(({ name, address, vpc }) => [name, `${name}.${vpc}.cc.internal`, address].map((target) => ({ name, target })));
  const calls = [...members.map(({ name }) => `known ${name}`), ...targets.map(({ target }) => `tcp ${target} & udp ${target} & wait`)];
  const ask = async (from: Member): Promise<void> => {
    const said = await textOf(lab, from, [CALLS, ...calls].join("\n"));
    const wanted = targets.flatMap(({ name, target }) => ["tcp", "udp"].map((how) => `${how} ${target} ${name} ${from.address}`));
    t.same(lines(said), wanted.toSorted(), `from ${from.name}`);
  };
  await Promise.all(members.map(ask));
}

/** From each to the next, all at once: the sum of what was sent is the sum of what came. */
export async function hashed(t: Test, lab: TestLab, members: readonly Member[]): Promise<void> {
  const blocks = Math.max(1, Math.round(BYTES / BLOCK_BYTES));
  const beganMs = performance.now();
  const next = (at: number): Member => members[(at + 1) % members.length] as Member;
  const send = (to: Member): string => `dd if=/dev/urandom of=/tmp/block bs=${BLOCK_BYTES} count=1 2>/dev/null
mkfifo /tmp/copy
sha256sum </tmp/copy &
n=0; while [ $n -lt ${blocks} ]; do n=$((n+1)); echo $n; cat /tmp/block; done | tee /tmp/copy | socat -u -b 65536 - TCP4:${to.name}:${PORTS.sum}
wait`;
  const sent = await Promise.all(members.map((from, at) => textOf(lab, from, send(next(at)), SUM_MS)));
  for (const [at, sum] of sent.entries()) {
    t.match(sum, /^[0-9a-f]{64} /);
    const to = next(at);
    const came = await eventually(`${to.name} has summed it up`, async () => (await textOf(lab, to, "cat /tmp/sum 2>/dev/null")) || undefined, 60_000);
    t.equal(came, sum, `${blocks * 8} MiB to ${to.name}`);
  }
  t.comment(`${members.length} times ${blocks * 8} MiB, hashed on both sides: ${Math.round(performance.now() - beganMs)} ms`);
}

async function datagram(lab: TestLab, from: Member, to: Member, packetBytes: number, options: string): Promise<string> {
  const send = `head -c ${packetBytes - HEADERS_BYTES} /dev/zero | socat -b 65536 -t9 -T9 - UDP4:${to.address}:${PORTS.count},null-eof${options} 2>&1`;
  return (await textOf(lab, from, send)).trim();
}

/** No packet that may not be taken apart is lost on the way: either it passes, or its sender is told at once. */
export async function largest(t: Test, lab: TestLab, members: readonly Member[], mtu: number): Promise<void> {
  const [one, two] = members as [Member, Member];
  const whole = ",mtudiscover=2";
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    t.equal(await datagram(lab, from, to, mtu, whole), String(mtu - HEADERS_BYTES), `${mtu} bytes in one packet from ${from.name}`);
    t.match(await datagram(lab, from, to, mtu + 1, whole), /Message too long/, "one more is refused by its own device");
    t.equal(await datagram(lab, from, to, 20_000, ""), String(20_000 - HEADERS_BYTES), "in pieces it passes");
  }
}

/** A narrow way somewhere outside: what is too large for it is told to the container, through both translations of addresses. */
export async function narrowWayOut(t: Test, lab: TestLab, inside: Inside, from: Member): Promise<void> {
  const [out, port] = [`${inside.subnet}.2`, 9_100];
  await inside.on(from.host, `ip route add ${out}/32 dev eth0 mtu 1300`);
  const bytes = 3 * MIB;
  const sink = inside.startOutside(["socat", "-u", `TCP4-LISTEN:${port},reuseaddr`, "SYSTEM:wc -c"]);
  const said = endOf(sink);
  await eventually("it listens", async () => (await inside.outside("cat /proc/net/tcp")).stdout.includes(`:${port.toString(16).toUpperCase()} `));
  const sent = await textOf(lab, from, `head -c ${bytes} /dev/zero | socat -u -b 65536 - TCP4:${out}:${port} 2>&1 && echo sent`);
  t.equal(sent.trim(), "sent");
  t.equal((await said).trim(), String(bytes));
  const learnt = await inside.by(from, `ip route get ${out}`);
  t.match(learnt.stdout, /mtu 1300/, "the container has learnt how wide the way is");
  await inside.on(from.host, `ip route del ${out}/32 dev eth0`);
}

/** One host's network is narrower meanwhile: all have followed, and nothing is lost on the way that its sender would not hear of. */
export async function narrower(t: Test, lab: TestLab, inside: Inside, members: readonly Member[], mtu: number): Promise<void> {
  const widths = async (): Promise<string[]> =>
    Promise.all(members.map(async (member) => /mtu (\d+)/.exec((await inside.by(member, "ip -o link show eth0")).stdout)?.[1] ?? ""));
  await eventually("all hosts follow", async () => (await widths()).every((width) => width === String(mtu)), FOLLOWED_MS);
  await largest(t, lab, members, mtu);
  const [one, two] = members as [Member, Member];
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    await textOf(lab, to, "rm -f /tmp/sum");
    const sum = await textOf(
      lab,
      from,
      `head -c ${MIB} /dev/urandom >/tmp/block; socat -u -b 65536 OPEN:/tmp/block TCP4:${to.name}:${PORTS.sum}; sha256sum </tmp/block`,
    );
    t.equal(await eventually("it came", async () => (await textOf(lab, to, "cat /tmp/sum 2>/dev/null")) || undefined), sum, "and TCP passes");
  }
}
