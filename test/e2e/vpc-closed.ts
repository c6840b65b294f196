import { setTimeout as pause } from "node:timers/promises";
import type { Test } from "tap";
import { arp, BROADCAST, ethernet, routerAdvertisement, udp } from "../host/firewall/frames.ts";
import { eventually, type TestLab } from "./lab.ts";
import { type Inside, type Member, macOf, sendFrames } from "./vpc-scene.ts";
import { sniff } from "./vpc-sniffer.ts";

const [IP, ARP, IPV6] = [0x0800, 0x0806, 0x86dd];
const STRANGER = "02:00:00:00:00:99";
const SILENCE_S = 3;
const METADATA = "169.254.169.254";

type Counted = Readonly<Record<string, number>>;

async function countersOf(inside: Inside, host: number, vpc: string): Promise<Counted> {
  const { stdout } = await inside.at(host, vpc, "nft list counters table bridge cc");
  return Object.fromEntries([...stdout.matchAll(/counter (\w+) \{\s*packets (\d+)/g)].map(([, name = "", packets]) => [name, Number(packets)]));
}

/** Frames from inside a container, sent with its own raw sockets, by what becomes of them. */
export async function spoofed(t: Test, lab: TestLab, inside: Inside, vpc: string, from: Member, to: Member, gateway: string): Promise<void> {
  const own = { mac: await macOf(inside, from), ip: from.address };
  const other = { mac: await macOf(inside, to), ip: to.address };
  const bridge = (await inside.at(from.host, vpc, "ip -o link show br0")).stdout;
  const atGateway = { mac: /link\/ether (\S+)/.exec(bridge)?.[1] ?? "", ip: gateway };
  const marker = "spoofed-for-a-test";
  const datagram = (ip: string) => udp({ ip, port: 1_000 }, { ip: to.address, port: 9 }, marker);
  const frames: Readonly<Record<string, readonly Uint8Array[]>> = {
    false_mac: [ethernet(other.mac, STRANGER, IP, datagram(own.ip)), ethernet(other.mac, atGateway.mac, IP, datagram(own.ip))],
    false_address: [gateway, other.ip, "198.51.100.1", "0.0.0.0"].map((ip) => ethernet(other.mac, own.mac, IP, datagram(ip))),
    false_arp: [
      ethernet(other.mac, own.mac, ARP, arp("reply", { mac: own.mac, ip: gateway }, other)),
      ethernet(BROADCAST, own.mac, ARP, arp("request", { mac: own.mac, ip: gateway }, { mac: BROADCAST, ip: gateway })),
      ethernet(other.mac, own.mac, ARP, arp("reply", { mac: own.mac, ip: other.ip }, other)),
    ],
    sent_dhcp: [
      ethernet(BROADCAST, own.mac, IP, udp({ ip: "0.0.0.0", port: 68 }, { ip: "255.255.255.255", port: 67 })),
      ethernet(other.mac, own.mac, IP, udp({ ip: own.ip, port: 67 }, { ip: other.ip, port: 68 })),
    ],
    sent_ipv6: [ethernet("33:33:00:00:00:01", own.mac, IPV6, routerAdvertisement()), ethernet(other.mac, own.mac, IPV6, routerAdvertisement())],
  };
  const before = await countersOf(inside, from.host, vpc);
  const places = [from, to].map((member) => ({ where: member.name, vpc: "", start: (argv: readonly string[]) => inside.startBy(member, argv) }));
  const [sent, came] = await sniff(places, marker, () => sendFrames(lab, from, Object.values(frames).flat()));
  const after = await countersOf(inside, from.host, vpc);
  t.same(
    Object.fromEntries(Object.keys(frames).map((kind) => [kind, (after[kind] ?? Number.NaN) - (before[kind] ?? Number.NaN)])),
    Object.fromEntries(Object.entries(frames).map(([kind, { length }]) => [kind, length])),
    "each is dropped and counted by kind",
  );
  t.ok((sent?.marked ?? 0) > 0);
  t.equal(came?.marked, 0, "none arrived");
  const [, honest] = await sniff(places, marker, async () => {
    await sendFrames(lab, from, [ethernet(other.mac, own.mac, IP, datagram(own.ip))]);
    await pause(200);
  });
  t.ok((honest?.marked ?? 0) > 0, "but what is as it should be does");
  t.notMatch((await inside.by(to, "ip neigh")).stdout, new RegExp(`${gateway} .*${own.mac}|${own.ip} .*${atGateway.mac}`), "nobody believed any of it");
}

/**
 * No answer from a container to what belongs to hosts: this one's and another's API and mesh ports, a service of theirs, their addresses
 * themselves, and a cloud's metadata service, which is on another host here. The hosts themselves are answered.
 */
export async function closedFrom(t: Test, lab: TestLab, inside: Inside, from: Member, gateway: string): Promise<void> {
  const [own, near] = [inside.address(1), inside.address(2)];
  const service = ["socat", "TCP4-LISTEN:8088,fork,reuseaddr", "SYSTEM:echo a service"];
  const services = [1, 2].map((host) => inside.startOn(host, service));
  await inside.on(2, `ip addr add ${METADATA}/32 dev lo`);
  await inside.on(1, `ip route add ${METADATA}/32 via ${near}`);
  try {
    const call = (at: string): string => `call ${at} &`;
    const script = (
      targets: readonly string[],
    ): string => `call() { echo "$1 $(socat -u -T${SILENCE_S} TCP4:$1,connect-timeout=${SILENCE_S} - 2>&1 </dev/null | sed 's/.*: //')"; }
${targets.map(call).join("\n")}
wait`;
    const [here, there] = [
      [`${own}:8088`, `${near}:8088`, `${METADATA}:8088`],
      [`${own}:7443`, `${near}:7443`, `${own}:4001`, `${near}:4001`],
    ];
    await eventually("the services listen", async () => {
      const { stdout } = await inside.on(1, script(here));
      return here.every((at) => stdout.includes(`${at} a service`));
    });
    t.pass("from the host itself the services and the metadata service are reached");
    const targets = [...here, ...there, ...[gateway, "100.127.240.1", "100.127.240.2"].flatMap((at) => [`${at}:7443`, `${at}:8088`]), `${METADATA}:80`];
    const { stdout } = await lab.cc(["exec", from.name, "--", "sh", "-c", script(targets)], { host: from.host });
    t.same(stdout.trimEnd().split("\n").toSorted(), targets.map((at) => `${at} Connection timed out`).toSorted(), "silence, from all of them");
    const ping = [own, near, inside.address(3), METADATA].map((at) => `ping -c1 -W${SILENCE_S} ${at} >/dev/null && echo ${at} &`);
    t.equal((await lab.cc(["exec", from.name, "--", "sh", "-c", `${ping.join("\n")}\nwait`], { host: from.host })).stdout, "", "nor is a ping answered");
    t.equal((await lab.cc(["exec", from.name, "--", "ping", "-c1", gateway], { host: from.host })).code, 0, "but at the gateway");
  } finally {
    for (const child of services) child.kill("SIGKILL");
    await inside.on(1, `ip route del ${METADATA}/32`);
    await inside.on(2, `ip addr del ${METADATA}/32 dev lo`);
  }
}
