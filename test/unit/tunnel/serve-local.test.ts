import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { isTunnelFrame } from "../../../src/tunnel/frames.ts";
import { Multiplexer } from "../../../src/tunnel/multiplexer.ts";
import { type LocalParts, serveLocal, type TunnelLink } from "../../../src/tunnel/serve-local.ts";
import type { TunnelSocket } from "../../../src/tunnel/socket.ts";
import { Budget } from "../../../src/tunnel/window.ts";
import { FakeSocket } from "./pairs.ts";

type Events = Parameters<TunnelLink["listen"]>[0];
const RUNS = { running: true, text: "" };
const standing = (what: typeof RUNS): Uint8Array => Buffer.from(`\x12${JSON.stringify(what)}`);
const turns = async (count = 30): Promise<void> => {
  for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A container's host at the other end of a link, which does as it is told. */
class Far {
  listens = true;
  events: Events | undefined;
  readonly programs: FakeSocket[] = [];
  closed = false;
  readonly #sender = {
    send: (...parts: readonly Uint8Array[]): boolean => {
      this.events?.frame(Buffer.concat(parts));
      return true;
    },
  };
  readonly tunnel = new Multiplexer(this.#sender, new Budget(), {
    opened: (connection) => {
      if (!this.listens) return connection.reset("refused");
      const socket = new FakeSocket();
      this.programs.push(socket);
      connection.accept(socket);
    },
  });
  readonly link: TunnelLink = {
    send: (...parts) => {
      const frame = Buffer.concat(parts);
      queueMicrotask(() => this.tunnel.receive(frame));
      return true;
    },
    listen: (events) => {
      this.events = events;
    },
    close: () => {
      this.closed = true;
    },
  };
}

/** The user's end with everything around it in the test's hand; waits pass at once. */
function play(first: Far | CcError) {
  const next: (Far | CcError)[] = [first];
  const said: string[] = [];
  const waitedMs: number[] = [];
  const listening: string[] = [];
  let accept: ((socket: TunnelSocket) => void) | undefined;
  let nowMs = 0;
  let wanting: ((far: Far | CcError) => void) | undefined;
  const parts: LocalParts = {
    open: async () => {
      const far = next.shift() ?? (await new Promise<Far | CcError>((resolve) => (wanting = resolve)));
      if (far instanceof CcError) throw far;
      return far.link;
    },
    readEvent: (bytes) => (isTunnelFrame(bytes) ? undefined : JSON.parse(Buffer.from(bytes.subarray(1)).toString())),
    listen: async (bind, taken) => {
      accept = taken;
      return { at: { ...bind, port: 4_000 }, close: () => void listening.push("closed") };
    },
    clock: {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      after: (delayMs, fire) => {
        // The limit of an answer does not pass by itself here.
        if (delayMs === 15_000) return () => undefined;
        waitedMs.push(delayMs);
        nowMs += delayMs;
        const timer = setImmediate(fire);
        return () => clearImmediate(timer);
      },
    },
    chance: () => 0,
    say: (text) => void said.push(text),
    listening: ({ address, port }) => void listening.push(`${address} ${port}`),
  };
  const stop = new AbortController();
  const kill = new AbortController();
  const done = serveLocal(parts, { address: "127.0.0.1", port: 0 }, { name: "db", port: 5_432 }, stop.signal, kill.signal);
  done.catch(() => undefined);
  return {
    said,
    waitedMs,
    listening,
    stop,
    kill,
    done,
    connect: (): FakeSocket => {
      const socket = new FakeSocket();
      accept?.(socket);
      return socket;
    },
    /** What the next attempt finds. */
    give: (...fars: (Far | CcError)[]): void => {
      next.push(...fars);
      const waiting = wanting;
      wanting = undefined;
      const given = waiting === undefined ? undefined : next.shift();
      if (given !== undefined) waiting?.(given);
    },
  };
}

t.test("it listens once the host has answered, and serves", async (t) => {
  const far = new Far();
  const { listening, connect, said, stop, done } = play(far);
  await turns();
  t.same(listening, [], "not before it is known that there is such a container");
  far.events?.frame(standing(RUNS));
  await turns();
  t.same(listening, ["127.0.0.1 4000"]);
  const socket = connect();
  socket.say(Buffer.from("hello"));
  await turns();
  t.equal(far.programs[0]?.bytes.toString(), "hello");
  stop.abort(new CcError("CANCELLED", "interrupted"));
  await done;
  t.match(said, ["1 open connections have 5 s to end; interrupt again to end at once"]);
  t.equal(listening[1], "closed");
  t.ok(socket.wasReset && far.closed, "after its time every connection ends");
});

t.test("what a peer refuses ends it before it listens", async (t) => {
  for (const code of ["NOT_FOUND", "FORBIDDEN"] as const) {
    const far = new Far();
    const event = play(far);
    await turns();
    far.events?.end(new CcError(code, "no"));
    await t.rejects(event.done, { code });
    t.same([event.listening, event.said], [[], []]);
    const status = play(new CcError(code, "no"));
    await t.rejects(status.done, { code });
    t.same(status.listening, []);
  }
  const nobody = play(new CcError("PEER_UNREACHABLE", "no peer answers"));
  await t.rejects(nobody.done, { code: "PEER_UNREACHABLE" });
});

t.test("lost: held connections go through the new way, or are refused when there is none; it waits longer each time", async (t) => {
  const [one, two] = [new Far(), new Far()];
  const run = play(one);
  await turns();
  one.events?.frame(standing(RUNS));
  await turns();
  const old = run.connect();
  await turns();
  one.events?.end(new CcError("PEER_UNREACHABLE", "the peer closed the connection"));
  await turns();
  t.ok(old.wasReset);
  const held = run.connect();
  t.notOk(held.wasReset, "a way may be there at once");
  run.give(two);
  await turns();
  two.events?.frame(standing(RUNS));
  await turns();
  held.say(Buffer.from("x"));
  await turns();
  t.equal(two.programs[0]?.bytes.toString(), "x");
  t.same(run.said, ["the way to db was lost (the peer closed the connection): connections through it have ended"], "nothing else changed");

  two.events?.end(new CcError("PEER_UNREACHABLE", "again"));
  await turns();
  const unlucky = run.connect();
  const fault = new CcError("HOST_UNREACHABLE", "h2 is down");
  run.give(fault, fault, fault, fault);
  await turns(100);
  t.ok(unlucky.wasReset);
  t.ok(run.connect().wasReset, "refused at once while nothing is reached");
  t.same(run.waitedMs, [250, 500, 1_000, 2_000]);
  t.match(run.said.slice(1), [
    "the way to db was lost (again): connections through it have ended",
    "db cannot be reached (h2 is down): connections are refused, and it is tried again",
  ]);
  const three = new Far();
  run.give(three);
  await turns();
  three.events?.frame(standing(RUNS));
  await turns();
  t.equal(run.said.at(-1), "db is reached: connections are served");
  three.events?.end(new CcError("NOT_FOUND", "there is no container db"));
  await t.rejects(run.done, { code: "NOT_FOUND" }, "that will not pass");
});

t.test("the container's port and the container: a line for each change", async (t) => {
  const far = new Far();
  const run = play(far);
  await turns();
  far.events?.frame(standing({ running: false, text: "it ended with 1" }));
  await turns();
  t.same(run.listening, ["127.0.0.1 4000"], "it listens, and waits");
  t.ok(run.connect().wasReset);
  far.events?.frame(standing(RUNS));
  far.listens = false;
  for (let at = 0; at < 5; at += 1) run.connect();
  await turns();
  far.listens = true;
  for (let at = 0; at < 5; at += 1) run.connect();
  await turns();
  t.match(run.said, [
    "db does not run (it ended with 1): connections are refused until it does",
    "db is reached: connections are served",
    "nothing listens on port 5432 in db: connections are refused until something does",
    "db is reached: connections are served",
  ]);
  t.equal(run.said.length, 4);
  far.events?.frame(Uint8Array.of(0x35, 0, 0));
  await t.rejects(run.done, { code: "BAD_REQUEST" }, "a host that breaks the rules is not tried again");
});
