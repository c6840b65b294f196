import { type ContainerId, parseIp, type VpcId } from "../../src/base/index.ts";
import { macOf, portName, TUNNEL_DEVICE, transitName } from "../../src/vpc/index.ts";
import type { Inside } from "./vpc-scene.ts";

/** What the kernel of one host holds of VPCs, or is to hold: lines in order, so that two can be compared. */
export type Held = readonly string[];
type Member = { readonly container: ContainerId; readonly address: string; readonly hostName: string; readonly phase: string };
type Vpc = { readonly id: VpcId; readonly gateway: string; readonly members: readonly Member[] };

const OWN_LINKS = ["lo", "br0", "vx0", "up0"];

const mac = (vpc: VpcId, address: string): string => {
  const ip = parseIp(address);
  if (ip === undefined) throw new Error(`${address} is no address`);
  return macOf(vpc, ip);
};

/** What a `cc` command says, as JSON. */
export type Ask = <T>(words: readonly string[]) => Promise<T>;

/** As a peer says it: devices, forwarding entries and neighbours of a host, by who runs where. */
export async function wantedOn(ask: Ask, inside: Inside, host: number): Promise<Held> {
  const ids = (await ask<{ id: string }[]>(["vpc", "list"])).map(({ id }) => id);
  const vpcs = await ask<Vpc[]>(["vpc", "inspect", ...ids]);
  return vpcs.flatMap((vpc) => wantedOfVpc(vpc, host, inside)).toSorted();
}

function wantedOfVpc({ id, members }: Vpc, host: number, inside: Inside): string[] {
  const running = members.filter(({ phase }) => phase === "running");
  const [here, elsewhere] = [running.filter(({ hostName }) => hostName === `h${host}`), running.filter(({ hostName }) => hostName !== `h${host}`)];
  if (here.length === 0) return [];
  const way = ({ hostName }: Member): string => inside.address(Number(hostName.slice(1)));
  return [
    `host link ${transitName(id)}`,
    `${id} pinned`,
    ...here.map(({ container }) => `host joined ${container}`),
    ...[...OWN_LINKS, ...here.map(({ container }) => portName(container))].map((link) => `${id} link ${link}`),
    ...here.map(({ container, address }) => `${id} fdb ${mac(id, address)} ${portName(container)}`),
    ...elsewhere.flatMap((member) => [`${id} fdb ${mac(id, member.address)} vx0`, `${id} fdb ${mac(id, member.address)} to ${way(member)}`]),
    ...running.map(({ address }) => `${id} neigh ${address} ${mac(id, address)}`),
  ];
}

/** Where hosts encrypt, what goes to another leaves by a second device, with an address of the tunnel. */
export async function alike(inside: Inside, host: number, held: Held): Promise<Held> {
  const isEncrypted = (await inside.on(host, `ip link show ${TUNNEL_DEVICE}`)).code === 0;
  if (!isEncrypted) return held;
  return held.filter((line) => !line.endsWith(" link vx1")).map((line) => line.replace(/ vx1$/, " vx0").replace(/ to \S+$/, " to another host"));
}

/** The same as the kernel has it. */
export async function heldOn(inside: Inside, host: number): Promise<Held> {
  const { stdout } = await inside.on(
    host,
    `ls /run/cc/joined | sed 's/^/host joined /'
ip -o link show | sed -n 's/^[0-9]*: \\(cc-[^@:]*\\).*/host link \\1/p'
cd /run/cc/vpc && for vpc in *; do
  [ -d $vpc ] || continue
  echo "$vpc pinned"
  nsenter --net=/run/cc/vpc/$vpc/net sh -c "
    ip -o link show | sed 's/^[0-9]*: \\([^@:]*\\).*/$vpc link \\1/'
    bridge fdb show | sed -n 's/^\\([^ ]*\\) dev \\([^ ]*\\) master br0 static.*/$vpc fdb \\1 \\2/p; s/^\\([^ ]*\\) dev vx[01] dst \\([^ ]*\\) .*/$vpc fdb \\1 to \\2/p'
    ip neigh show dev br0 | sed -n 's/^\\([^ ]*\\) lladdr \\([^ ]*\\) PERMANENT.*/$vpc neigh \\1 \\2/p; /FAILED\\|INCOMPLETE/d'"
done`,
  );
  return stdout
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .toSorted();
}

/** Every place of a host that has tables of ours, as words of `nsenter`, with what they hold: without counts, elements and chains in order. */
export async function rulesOn(inside: Inside, host: number): Promise<readonly string[]> {
  const { stdout } = await inside.on(
    host,
    `echo "=== host"; nft -s list table inet cc 2>/dev/null
for net in /run/cc/vpc/*/net /run/cc/containers/*/net; do
  [ -e $net ] || continue
  rules=$(nsenter --net=$net nft -s list ruleset 2>/dev/null)
  [ -z "$rules" ] || echo "=== $net
$rules"
done`,
  );
  const sorted = (elements: string): string =>
    elements
      .split(",")
      .map((element) => element.trim())
      .toSorted()
      .join(", ");
  return stdout
    .replaceAll(/packets \d+ bytes \d+/g, "")
    .replaceAll(/elements = \{([^}]*)\}/g, (_, elements: string) => `elements = { ${sorted(elements)} }`)
    .split(/^=== /m)
    .filter((place) => place !== "")
    .map(inOrder)
    .toSorted();
}

/** The kernel lists chains as they came; which was first means nothing. */
function inOrder(place: string): string {
  const parts = place.split(/^(?=table )|^\t(?=\w)/m).map((part) => part.trim().replace(/\s*^\}$/m, ""));
  return parts.toSorted().join("\n");
}

/** Somebody takes all of our rules away, everywhere on a host: what comes back is made from state anew. */
export async function flushRules(inside: Inside, host: number): Promise<void> {
  await inside.on(
    host,
    `nft delete table inet cc
for net in /run/cc/vpc/*/net /run/cc/containers/*/net; do [ ! -e $net ] || nsenter --net=$net nft flush ruleset; done`,
  );
}

/** What is still there of VPCs on a host that has none; empty: nothing. */
export async function leftOn(inside: Inside, host: number): Promise<readonly string[]> {
  const { stdout } = await inside.on(
    host,
    `find /run/cc/vpc /run/cc/joined -mindepth 1 -not -name '.*'
ip -o link show | grep -E '^[0-9]+: (cc-|vx|br0|p[a-z2-7]{13})'
nft list tables | grep -w cc
grep -E ' /run/cc/(vpc/|containers/c)' /proc/self/mountinfo
ss -lnuH 'sport = 4789'
ip route show | grep 100.127.24`,
  );
  return stdout.split("\n").filter((line) => line !== "");
}
