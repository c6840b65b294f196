import t from "tap";
import { TrafficLog } from "../../../nodes/peer/network/traffic-log.ts";
import type { Logger } from "../../../src/base/index.ts";
import type { LoggedTraffic } from "../../../src/firewall/index.ts";

const met = (port: number, packets: number): LoggedTraffic => ({ container: "ca", rule: "fa", address: "10.0.0.9", protocol: "tcp", port, packets }) as never;

t.test("what a rule met is written once, and a flood is bounded and counted", async (t) => {
  const lines: [string, object][] = [];
  const write = (level: string) => (fields: object) => void lines.push([level, fields]);
  let now: readonly LoggedTraffic[] = [met(80, 1)];
  const traffic = new TrafficLog({ logged: async () => now }, { info: write("info"), warn: write("warn") } as never as Logger);
  await traffic.look();
  await traffic.look();
  t.match(lines, [["info", { port: 80, packets: 1 }]]);
  t.equal(lines.length, 1, "nothing new, nothing written");
  now = [met(80, 4)];
  await traffic.look();
  t.match(lines[1], ["info", { port: 80, packets: 3 }], "what came since the last look");
  now = Array.from({ length: 250 }, (_, at) => met(1_000 + at, 1));
  await traffic.look();
  t.equal(lines.length, 2 + 100 + 1);
  t.match(lines.at(-1), ["warn", { more: 150 }]);
});
