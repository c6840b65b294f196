import { create } from "@bufbuild/protobuf";
import t from "tap";
import { encryptionByHost, sideOf, wayTo } from "../../../nodes/peer/network/ways.ts";
import { type HostFacts, HostFactsSchema } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { formatIp, type PeerId, type Zone } from "../../../src/base/index.ts";
import { tunnelAddress } from "../../../src/vpc/index.ts";

const KEY = Buffer.alloc(32, 7).toString("base64");
const facts = (more: { readonly has?: boolean; readonly requires?: boolean; readonly underlay?: string } = {}): HostFacts =>
  create(HostFactsSchema, {
    underlay: more.underlay ?? "172.31.0.2",
    wireguardKey: more.has === true ? KEY : "",
    wireguardPort: more.has === true ? 7_441 : 0,
    encryptionRequired: more.requires === true,
  });
const host = (name: string, said: HostFacts | undefined, zone = "a") => ({ peer: name as PeerId, zone: zone as Zone, facts: said });
const HAS = { end: { publicKey: KEY, port: 7_441 }, isRequired: false };
const LACKS = { end: undefined, isRequired: false };

t.test("what a host's facts say; a liar's nonsense is no end", async (t) => {
  t.same(sideOf(facts({ has: true })), HAS);
  t.same(sideOf(facts({ requires: true })), { end: undefined, isRequired: true });
  for (const [wireguardKey, wireguardPort] of [
    ["0 peer", 7_441],
    [`${KEY} allowed-ips ::/0`, 7_441],
    [KEY, 0],
    [KEY, 70_000],
  ] as const)
    t.equal(sideOf({ wireguardKey, wireguardPort, encryptionRequired: false }).end, undefined);
});

t.test("where a host is reached", async (t) => {
  const to = (own: typeof HAS | typeof LACKS, said: HostFacts | undefined) => wayTo(own, { peer: "b" as PeerId, facts: said })?.host;
  const text = (ip: ReturnType<typeof to>): string => (ip === undefined ? "" : formatIp(ip));
  t.equal(text(to(HAS, facts({ has: true }))), formatIp(tunnelAddress("b" as PeerId)));
  t.equal(text(to(LACKS, facts({ has: true }))), "172.31.0.2");
  t.equal(text(to(HAS, facts())), "172.31.0.2");
  t.equal(text(to(HAS, facts({ requires: true }))), "", "it would not be taken there");
  t.equal(text(to({ ...HAS, isRequired: true }, facts())), "");
  t.equal(text(to(HAS, facts({ has: true, underlay: "" }))), "", "it has not said where it is");
  t.equal(text(to(HAS, undefined)), "");
});

t.test("who is encrypted, by zone", async (t) => {
  const words = (...hosts: ReturnType<typeof host>[]): Record<string, string> => Object.fromEntries(encryptionByHost(hosts));
  t.same(words(host("a", facts({ has: true }))), { a: "" }, "nobody to talk to");
  t.same(words(host("a", facts({ has: true })), host("b", facts({ has: true }))), { a: "yes", b: "yes" });
  t.same(words(host("a", facts({ has: true })), host("b", facts({ has: true })), host("c", facts())), { a: "partly", b: "partly", c: "no" });
  t.same(words(host("a", facts({ has: true, requires: true })), host("b", facts({ has: true })), host("c", facts())), { a: "yes", b: "partly", c: "no" });
  t.same(words(host("a", facts({ has: true, requires: true })), host("c", facts())), { a: "cut off", c: "cut off" });
  t.same(words(host("a", facts({ has: true })), host("b", facts({ has: true })), host("z", facts(), "b"), host("new", undefined)), {
    a: "yes",
    b: "yes",
    z: "",
  });
});
