import type { Test } from "tap";
import { arp, BROADCAST, ethernet, udp } from "../host/firewall/frames.ts";
import { eventually, type TestLab } from "./lab.ts";
import { type Inside, type Member, macOf, PORTS, sendFrames } from "./vpc-scene.ts";
import { sniff } from "./vpc-sniffer.ts";

/** Id of a VPC, by its name. */
export type Ids = Readonly<Record<string, string>>;

/**
 * What containers of one VPC send, in every way they can, is seen in the other's namespaces and containers of the same hosts by nobody; the
 * same look sees it in their own.
 */
export async function noPacketCrosses(t: Test, lab: TestLab, inside: Inside, members: readonly Member[], ids: Ids): Promise<void> {
  const two = members.filter(({ host }) => host < 3);
  const places = [
    ...two.map((member) => ({ where: `in ${member.name}`, vpc: member.vpc, start: (argv: readonly string[]) => inside.startBy(member, argv) })),
    ...Object.entries(ids).flatMap(([vpc, id]) =>
      [1, 2].map((host) => ({ where: `in VPC ${vpc} on h${host}`, vpc, start: (argv: readonly string[]) => inside.startAt(host, id, argv) })),
    ),
  ];
  for (const vpc of Object.keys(ids)) {
    const marker = `only-for-${vpc}-${Math.floor(Math.random() * 2 ** 31)}`;
    const [from, to] = two.filter((member) => member.vpc === vpc) as [Member, Member];
    const mac = await macOf(inside, from);
    const here = { mac, ip: from.address };
    const seen = await sniff(places, marker, async () => {
      const transits = [2, 3].map((last) => `100.127.240.${last}`);
      const call = `for to in ${to.name} ${to.address} 10.7.0.200 ${transits.join(" ")} ${inside.address(1)} ${inside.address(2)}; do
  echo ${marker} | socat -t1 -T1 - TCP4:$to:${PORTS.who},connect-timeout=2 &
  echo ${marker} | socat -t1 -T1 - UDP4:$to:${PORTS.who},null-eof &
done; wait`;
      const [quiet, neighbour] = two.filter((member) => member.vpc !== vpc) as [Member, Member];
      const chat = `echo hello | socat -t5 -T5 - TCP4:${neighbour.name}:${PORTS.who}`;
      await Promise.all([
        lab.cc(["exec", from.name, "--", "sh", "-c", call], { host: from.host }),
        lab.cc(["exec", quiet.name, "--", "sh", "-c", chat], { host: quiet.host }),
      ]);
      await sendFrames(lab, from, [
        ethernet(BROADCAST, mac, 0x0800, udp({ ip: from.address, port: 9 }, { ip: "255.255.255.255", port: 9 }, marker)),
        ethernet(BROADCAST, mac, 0x0800, udp({ ip: "10.7.0.99", port: 9 }, { ip: "10.7.0.255", port: 9 }, marker)),
        ethernet(BROADCAST, mac, 0x88b5, [...Buffer.from(marker)]),
        ethernet(BROADCAST, mac, 0x0806, [...arp("request", here, { mac: BROADCAST, ip: to.address }), ...Buffer.from(marker)]),
      ]);
    });
    const own = seen.filter((one) => one.vpc === vpc);
    const others = seen.filter((one) => one.vpc !== vpc);
    t.same(
      own.filter(({ marked }) => !(marked > 0)),
      [],
      `${vpc}: each of its own places saw it, so the look can tell`,
    );
    t.same(
      others.filter(({ all, marked }) => !(all > 0 && marked === 0)),
      [],
      `${vpc}: of the other's none did, in ${others.map(({ all }) => all).join(", ")} frames`,
    );
  }
}

/** The same addresses answer, under each VPC's own names. */
export async function namesApart(t: Test, lab: TestLab, members: readonly Member[]): Promise<void> {
  for (const from of members.filter(({ host }) => host === 1)) {
    const own = members.filter(({ vpc }) => vpc === from.vpc);
    const [other] = members.filter(({ vpc }) => vpc !== from.vpc) as [Member];
    const look = (name: string): string => `echo "${name}: $(nslookup ${name} 2>/dev/null | sed -n '/^Name:/,$s/^Address: //p' | sort | tr '\\n' ' ')"`;
    const script = [look("all.group"), look(`all.group.${from.vpc}.cc.internal`), look(other.name), look(`${other.name}.${other.vpc}.cc.internal`)];
    const reverse = `echo "back: $(nslookup ${from.address} 2>/dev/null | sed -n 's/.*name = //p' | tr '\\n' ' ')"`;
    const group = own.map(({ address }) => address).toSorted();
    const wanted = [
      `all.group: ${group.join(" ")}`,
      `all.group.${from.vpc}.cc.internal: ${group.join(" ")}`,
      `${other.name}:`,
      `${other.name}.${other.vpc}.cc.internal:`,
      `back: ${from.name}.${from.vpc}.cc.internal`,
    ];
    let said: string[] = [];
    await eventually("names are as they should be", async () => {
      const { stdout } = await lab.cc(["exec", from.name, "--", "sh", "-c", [...script, reverse].join("\n")], { host: 1 });
      said = stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.trimEnd());
      return said.join() === wanted.join();
    }).catch(() => undefined);
    t.same(said, wanted, `asked in VPC ${from.vpc}`);
  }
}

/** By each host's address, from outside, from the host itself and from inside both VPCs. */
export async function publishedApart(
  t: Test,
  lab: TestLab,
  inside: Inside,
  members: readonly Member[],
  ports: Readonly<Record<string, number>>,
): Promise<void> {
  const targets = members.map(({ name, host, vpc }) => ({ name, at: `${inside.address(host)}:${ports[vpc]}` }));
  const ask = (some: typeof targets): string =>
    `for at in ${some.map(({ at }) => at).join(" ")}; do echo "$at $(echo hello | socat -t9 -T9 - TCP4:$at,connect-timeout=9 2>&1 | cut -d' ' -f1)"; done`;
  const wanted = targets.map(({ name, at }) => `${at} ${name}`);
  const linesOf = (text: string): string[] => text.trimEnd().split("\n");
  await eventually("published", async () => linesOf((await inside.outside(ask(targets))).stdout).join() === wanted.join()).catch(() => undefined);
  t.same(linesOf((await inside.outside(ask(targets))).stdout), wanted, "from outside");
  t.same(linesOf((await inside.on(1, ask(targets))).stdout), wanted, "from a host, its own and another's");
  for (const from of members.filter(({ host }) => host === 1)) {
    const { stdout } = await lab.cc(["exec", from.name, "--", "sh", "-c", ask(targets)], { host: 1 });
    t.same(linesOf(stdout), wanted, `from ${from.name}`);
  }
}
