import type { Test } from "tap";
import type { TestLab } from "./lab.ts";
import { namesApart, noPacketCrosses, publishedApart } from "./vpc-apart.ts";
import { closedFrom, spoofed } from "./vpc-closed.ts";
import { floodedByAnother, malformed, manyQuestions, notForOutside } from "./vpc-questions.ts";
import { Inside, type Member, startMember, toolsImage } from "./vpc-scene.ts";
import { everyPair, hashed, largest, narrower, narrowWayOut } from "./vpc-traffic.ts";

/** Of a network between hosts; the lab's has 100 bytes more. */
const NARROW_MTU = 1_400;
const NARROWER_BYTES = 100;
const GATEWAY = "10.7.0.1";
const PUBLISHED = { one: 8_101, two: 8_102 } as const;
const HOSTS = [1, 2, 3];

/** In a lab of three hosts, of which nothing else is asked meanwhile. */
export async function twoVpcs(t: Test, lab: TestLab): Promise<void> {
  const image = await toolsImage(lab);
  const inside = new Inside(lab);
  const ids: Record<string, string> = {};
  for (const vpc of Object.keys(PUBLISHED)) {
    const { code, stdout, stderr } = await lab.cc(["vpc", "create", "--cidr", "10.7.0.0/24", "--name", vpc]);
    t.equal(code, 0, stderr);
    ids[vpc] = stdout.trim();
  }
  const start = (vpc: keyof typeof PUBLISHED) =>
    Promise.all(HOSTS.map((host) => startMember(lab, image, vpc, host, ["--label", "group=all", "--publish", `${PUBLISHED[vpc]}:9000`])));
  const [one, two] = [await start("one"), await start("two")];
  const all = [...one, ...two];
  t.same(
    two.map(({ address }) => address),
    one.map(({ address }) => address),
    "each container of the one has the address of one in the other, on the same host",
  );
  const [first, second] = one as [Member, Member];
  const [other] = two as [Member];

  const mtu = Number(/mtu (\d+)/.exec((await inside.by(first, "ip -o link show eth0")).stdout)?.[1]);
  t.ok(mtu > 1_300, `${mtu} bytes`);
  await t.test("every pair both ways, by name and address, by TCP and UDP", (t) => everyPair(t, lab, one));
  await t.test("much at once, hashed", (t) => hashed(t, lab, one));
  await t.test("the largest packet, and one byte more", (t) => largest(t, lab, one, mtu));
  // Followed while the rest is looked at.
  await inside.on(second.host, `ip link set eth0 mtu ${NARROW_MTU}`);
  await t.test("names of each", (t) => namesApart(t, lab, all));
  await t.test("published ports of both", (t) => publishedApart(t, lab, inside, all, PUBLISHED));
  await t.test("no packet crosses", (t) => noPacketCrosses(t, lab, inside, all, ids));
  await t.test("what a container may not send", (t) => spoofed(t, lab, inside, ids["one"] ?? "", first, second, GATEWAY));
  await t.test("what a container may not reach", (t) => closedFrom(t, lab, inside, first, GATEWAY));
  await t.test("one host has a narrower network", (t) => narrower(t, lab, inside, one, mtu - NARROWER_BYTES));
  await t.test("a narrow way outside", (t) => narrowWayOut(t, lab, inside, first));
  await t.test("names are not for the world", (t) => notForOutside(t, inside, first));
  await t.test("malformed questions", (t) => malformed(t, inside, first));
  await t.test("many questions", (t) => manyQuestions(t, lab, inside, first));
  await t.test("another VPC's flood of questions", (t) => floodedByAnother(t, inside, other, ids["two"] ?? "", first));
  t.equal((await lab.cc(["rm", "--force", ...all.map(({ id }) => id)])).code, 0);
}
