import t from "tap";
import { Answering } from "../../../src/vpc/drivers/name-server/answering.ts";
import { Forwarder } from "../../../src/vpc/drivers/name-server/forwarder.ts";
import { framed, TcpFrames } from "../../../src/vpc/drivers/name-server/tcp-frames.ts";
import { seededRandom } from "../mesh/small-world.ts";
import { ip, queryFor, type Read, readReply, tableOf } from "./dns-client.ts";

const [PROD, TEST] = ["100.127.240.2", "100.127.240.3"];
const prod = tableOf("prod", { web: { address: "10.7.0.5" } }, { source: PROD });
const other = tableOf("test", { web: { address: "10.7.0.77" } }, { number: 2, source: TEST });

/** Without a nameserver: nothing leaves. Time stands until it is moved. */
function scene() {
  let nowMs = 1_000;
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs, after: () => () => undefined };
  const random = seededRandom(5);
  const answering = new Answering({ clock, random, forwarder: new Forwarder({ clock, random, own: ip("100.127.240.1"), onLoop: () => undefined }) });
  const ask = (source: string, name = "web"): Read | undefined => {
    let reply: Buffer | undefined;
    answering.handle(queryFor(name), source, "udp", (bytes) => {
      reply = bytes;
    });
    return reply === undefined ? undefined : readReply(reply);
  };
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { answering, ask, pass };
}

t.test("a VPC has its rate, and takes nothing of another's", async (t) => {
  const { answering, ask, pass } = scene();
  answering.set(prod);
  answering.set(other);
  const count = (source: string, times: number): number => Array.from({ length: times }, () => ask(source)).filter((read) => read !== undefined).length;
  t.equal(count(PROD, 6_000), 5_000, "a burst, and no more");
  t.equal(count(TEST, 100), 100);
  pass(10);
  t.equal(count(PROD, 200), 100, "10,000 a second");
  answering.set({ ...prod, containers: [] });
  t.equal(count(PROD, 10), 0, "a new table brings no new burst");
  t.same(answering.takeOverRate(), [{ vpc: prod.vpc, queries: 1_110 }]);
  t.same(answering.takeOverRate(), [], "told once");
});

t.test("an address is the VPC's that had it last, and nobody's without one", async (t) => {
  const { answering, ask } = scene();
  t.equal(ask(PROD), undefined);
  answering.set(prod);
  t.same(ask(PROD)?.data, ["10.7.0.5"]);
  t.equal(ask(TEST), undefined);
  // Another VPC has come to the address before the first one's end is heard of.
  answering.set({ ...other, source: prod.source });
  answering.remove(prod.vpc);
  t.same(ask(PROD)?.data, ["10.7.0.77"]);
  answering.set(other);
  t.same([ask(PROD), ask(TEST)?.data], [undefined, ["10.7.0.77"]]);
  answering.remove(other.vpc);
  answering.remove(other.vpc);
  t.equal(answering.knows(TEST), false);
  t.equal(ask(TEST), undefined);
});

t.test("messages come out of a stream as they went in, however it was cut", async (t) => {
  const messages = [Buffer.from("one"), Buffer.alloc(0), Buffer.alloc(300, 7)];
  const stream = Buffer.concat(messages.map(framed));
  for (const size of [1, 2, 3, 50, 1_000]) {
    const frames = new TcpFrames(300);
    const out: unknown[] = [];
    for (let at = 0; at < stream.length; at += size) {
      frames.push(stream.subarray(at, at + size));
      for (let next = frames.next(); next !== undefined; next = frames.next()) out.push(next);
    }
    t.same(out, messages, `${size} bytes at a time`);
  }
  const frames = new TcpFrames(300);
  frames.push(Buffer.from([1, 45]));
  t.equal(frames.next(), "too large", "said by its length alone");
});
