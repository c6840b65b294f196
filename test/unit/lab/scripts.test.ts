import t from "tap";
import { aliveHosts } from "../../../nodes/lab/cloud.ts";
import { parseReady, peerConfig } from "../../../nodes/lab/hosts.ts";
import { hostOf, layoutOf } from "../../../nodes/lab/layout.ts";
import { parseStat } from "../../../nodes/lab/processes.ts";
import { daemonConfiguration, parseMappings, routerRuleset } from "../../../nodes/lab/router-scripts.ts";
import { enterHost, faultRuleset, hostMountsScript } from "../../../nodes/lab/scripts.ts";

const layout = layoutOf("/checkout/a b", "main");
if (!layout.ok) throw new Error(layout.message);
const host = hostOf(layout.value, "10.231.7", 1, "a");

t.test("a cut is both ways and to all, if not said otherwise", async (t) => {
  const rules = (faults: Parameters<typeof faultRuleset>[0]): string[] =>
    faultRuleset(faults)
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line.endsWith(" drop"));
  t.same(rules([]), []);
  t.same(rules([{ from: "h1", oneWay: false }]), ['iifname "h1" drop', 'oifname "h1" drop']);
  t.same(rules([{ from: "h1", to: "h2", oneWay: false }]), ['iifname "h1" oifname "h2" drop', 'iifname "h2" oifname "h1" drop']);
  t.same(
    rules([
      { from: "h1", to: "h2", oneWay: true },
      { from: "h1", to: "h2", oneWay: true },
    ]),
    ['iifname "h1" oifname "h2" drop'],
    "said twice is once",
  );
  const across = { from: "h1", to: "h3", addresses: { from: "10.231.7.11", to: "10.232.7.13" } };
  t.same(
    rules([{ ...across, oneWay: false }]),
    [
      'iifname "h1" ip daddr 10.232.7.13 drop',
      'oifname "h3" ip saddr 10.231.7.11 drop',
      'iifname "h3" ip daddr 10.231.7.11 drop',
      'oifname "h1" ip saddr 10.232.7.13 drop',
    ],
    "across the home router by addresses",
  );
  t.same(rules([{ ...across, oneWay: true }]).length, 2);
  t.match(faultRuleset([]), /^add table bridge fault\ndelete table bridge fault\n/, "one transaction replaces what was there");
});

t.test("a host's mounts: shared last, and what is let go of first", async (t) => {
  const lines = hostMountsScript(host, ["/mnt/x y"]).split("\n");
  t.equal(lines[0], "hostname h1");
  t.equal(lines[1], "umount -l '/mnt/x y' 2>/dev/null || :");
  t.equal(lines.at(-1), "mount --make-rshared /");
  t.ok(lines.indexOf("mount --make-rprivate /run/cgroup") < lines.indexOf("umount -l /run/cgroup"), "or unmounting would propagate");
});

t.test("a program enters cgroups, then namespaces, with every word as it was", async (t) => {
  const words = enterHost(layout.value, host, ["/sys/fs/cgroup/pids"], "/tmp", ["echo", "$HOME", "a b"]);
  t.same(words.slice(3), ["sh", "/tmp", "echo", "$HOME", "a b"].slice(0), "words are arguments, never script");
  t.match(words[2], `echo $$ >/sys/fs/cgroup/pids/${host.cgroup}/peer/cgroup.procs; exec nsenter`);
  t.match(words[2], "'--mount=".slice(1), "paths with spaces are quoted");
  t.match(words[2], "'/checkout/a b/.lab/main/ns/mnt-h1'");
});

t.test("what a peer is configured with", async (t) => {
  const config = peerConfig(host, { number: 1, zone: "a", memoryBytes: 1, diskBytes: 2 }, "10.231.7", 2048);
  t.match(config, {
    name: "h1",
    listen: ["/ip4/10.231.7.11/tcp/4001"],
    apiListen: "10.231.7.11:7443",
    cgroupParent: `/${host.cgroup}`,
    capacity: { memoryBytes: 1, diskBytes: 2, cpuShares: 2048 },
    insecureRegistries: ["10.231.7.2:5000", "10.231.7.2:5001"],
  });
});

t.test("the home router: its rules, its daemon, and what it has mapped", async (t) => {
  const rules = routerRuleset("10.231.7");
  t.match(rules, /oifname "wan0" ip saddr 10\.232\.7\.0\/24 snat ip to 11\.231\.7\.3/);
  t.match(rules, /iifname "wan0" ip saddr 10\.231\.7\.1 accept/, "the machine itself looks in");
  const lines = (options?: Parameters<typeof daemonConfiguration>[2]) => daemonConfiguration(layout.value, "10.231.7", options).split("\n");
  t.ok(["enable_upnp=yes", "enable_natpmp=yes", "force_igd_desc_v1=no", "allow 1-65535 10.232.7.0/24 1-65535"].every((line) => lines().includes(line)));
  t.ok(["enable_upnp=no", "enable_natpmp=yes"].every((line) => lines({ only: "pcp" }).includes(line)));
  t.ok(["enable_upnp=yes", "enable_natpmp=no", "force_igd_desc_v1=yes"].every((line) => lines({ only: "upnp", version1: true }).includes(line)));
  t.same(
    parseMappings(`table inet home {
	chain mapped_prerouting {
		iif "wan0" @nh,72,8 0x6 th dport 8080 dnat ip to 10.232.7.13:80
		iif "wan0" @nh,72,8 0x11 th dport 53 dnat ip to 10.232.7.12:5353
		iif "wan0" meta l4proto tcp th dport 81 dnat ip to 10.232.7.13:81
	}
}`),
    [
      { protocol: "tcp", externalPort: 8080, address: "10.232.7.13", port: 80 },
      { protocol: "udp", externalPort: 53, address: "10.232.7.12", port: 5353 },
      { protocol: "tcp", externalPort: 81, address: "10.232.7.13", port: 81 },
    ],
  );
});

t.test("lines of programs are read, others passed over", async (t) => {
  t.equal(parseReady('{"ready":true,"peer":"12D3"}'), "12D3");
  for (const line of ["", "ready", '{"ready":false,"peer":"x"}', '{"ready":true}', '{"ready":tr']) t.equal(parseReady(line), undefined, line);
  t.same(aliveHosts('[{"name":"h1","state":"alive"},{"name":"h2","state":"suspect"}]'), ["h1"]);
  t.same(aliveHosts('{"hosts":[]}'), []);
  t.same(parseStat("12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20"), { state: "S", startTicks: "4242" });
});
