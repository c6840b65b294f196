import fc from "fast-check";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { encodeTunnelFrame, type ResetReason, type TunnelFrame } from "../../../src/tunnel/frames.ts";
import { Multiplexer } from "../../../src/tunnel/multiplexer.ts";
import { Budget, FIRST_WINDOW_BYTES, WINDOW_BYTES_MAX } from "../../../src/tunnel/window.ts";
import { FakeSocket, pair } from "./pairs.ts";

const SEED = Number(process.env["CC_TEST_SEED"] ?? 20_261_128);
const bytesOf = (length: number, of: number): Buffer => Buffer.alloc(length, Buffer.from([of, of + 1, of + 2]));

t.test("every byte arrives once and in order, on many connections at once, and both ends end", async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          up: fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 6 }),
          down: fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 6 }),
        }),
        {
          minLength: 1,
          maxLength: 8,
        },
      ),
      fc.integer({ min: 1, max: 20 }),
      async (plans, roomFrames) => {
        const programs: FakeSocket[] = [];
        const tunnel = pair(() => {
          const socket = new FakeSocket();
          programs.push(socket);
          return socket;
        });
        tunnel.toHost.roomFrames = roomFrames;
        tunnel.toUser.roomFrames = roomFrames;
        const users = plans.map(() => new FakeSocket());
        for (const [at, socket] of users.entries()) {
          tunnel.user.open(socket);
          socket.say(...(plans[at]?.up ?? []).map((length) => bytesOf(length, at)), "end");
        }
        await tunnel.settle();
        for (const [at, socket] of programs.entries()) socket.say(...(plans[at]?.down ?? []).map((length) => bytesOf(length, at + 100)), "end");
        await tunnel.settle();
        for (const [at, plan] of plans.entries()) {
          const up = Buffer.concat(plan.up.map((length) => bytesOf(length, at)));
          const down = Buffer.concat(plan.down.map((length) => bytesOf(length, at + 100)));
          if (!programs[at]?.bytes.equals(up) || !users[at]?.bytes.equals(down)) throw new Error(`connection ${at} lost or changed something`);
          if (programs[at]?.heardEnd !== true || users[at]?.heardEnd !== true) throw new Error(`connection ${at} did not end`);
        }
        if (tunnel.user.size + tunnel.host.size > 0 || tunnel.user.budget.connections + tunnel.host.budget.lentBytes > 0) throw new Error("something is left");
      },
    ),
    { seed: SEED, numRuns: 40 },
  );
  t.pass();
});

t.test("half-close: each side may go on after the other's end", async (t) => {
  const program = new FakeSocket();
  const tunnel = pair(() => program);
  const user = new FakeSocket();
  tunnel.user.open(user);
  user.say(Buffer.from("question"), "end");
  await tunnel.settle();
  t.ok(program.heardEnd);
  t.notOk(user.heardEnd);
  program.say(Buffer.from("answer"));
  await tunnel.settle();
  t.equal(user.bytes.toString(), "answer");
  program.say("end");
  await tunnel.settle();
  t.ok(user.heardEnd && user.closed && program.closed);
  t.notOk(user.wasReset || program.wasReset);
});

t.test("who does not read stops its own connection only, and holds no more than its window", async (t) => {
  const programs: FakeSocket[] = [];
  const tunnel = pair(() => {
    const socket = new FakeSocket();
    socket.takes = programs.length !== 0;
    programs.push(socket);
    return socket;
  });
  const [slow, quick] = [new FakeSocket(), new FakeSocket()];
  tunnel.user.open(slow);
  tunnel.user.open(quick);
  for (let at = 0; at < 100; at += 1) {
    slow.say(bytesOf(64 * 1024, 1));
    quick.say(bytesOf(64 * 1024, 2));
  }
  await tunnel.settle();
  t.equal(programs[1]?.bytes.length, 100 * 64 * 1024, "the other one goes on");
  t.equal(programs[0]?.bytes.length, FIRST_WINDOW_BYTES, "one window, and then it waits");
  t.ok(slow.paused && slow.unsaid >= 97, `${slow.unsaid} of it were never read`);
  t.ok(tunnel.host.heldBytes <= FIRST_WINDOW_BYTES && tunnel.user.heldBytes <= 64 * 1024);
  const [first] = programs;
  if (first === undefined) throw new Error("it was never connected");
  first.takes = true;
  first.take();
  await tunnel.settle();
  t.equal(first.bytes.length, 100 * 64 * 1024, "and goes on where it was");
  t.ok(tunnel.host.budget.lentBytes <= 2 * WINDOW_BYTES_MAX);
});

t.test("windows together stay within the pool, connections within their number", async (t) => {
  const budget = new Budget({ connectionsMax: 10, poolBytes: 300_000 });
  const programs: FakeSocket[] = [];
  const refusals: ResetReason[] = [];
  const tunnel = pair(
    () => {
      const socket = new FakeSocket();
      programs.push(socket);
      return socket;
    },
    { userEvents: { refused: (reason) => void refusals.push(reason) }, budgets: [new Budget(), budget] },
  );
  const users = Array.from({ length: 12 }, () => new FakeSocket());
  for (const socket of users) {
    tunnel.user.open(socket);
    socket.say(...Array.from({ length: 20 }, () => bytesOf(64 * 1024, 1)));
  }
  await tunnel.settle();
  t.equal(budget.connections, 10);
  t.equal(budget.lentBytes, 300_000, "all that there is, and no more");
  t.same(refusals, ["no-room", "no-room"]);
  t.equal(users.filter(({ wasReset }) => wasReset).length, 2);
  for (const socket of programs) socket.takes = false;
  for (const socket of users) socket.say(...Array.from({ length: 50 }, () => bytesOf(64 * 1024, 1)));
  await tunnel.settle();
  t.ok(tunnel.host.heldBytes <= 10 * FIRST_WINDOW_BYTES + 300_000, `${tunnel.host.heldBytes} bytes wait for ten readers`);
  tunnel.host.close();
  t.same([budget.connections, budget.lentBytes], [0, 0]);
});

t.test("refused, reset, stopped, lost", async (t) => {
  const refusals: string[] = [];
  let program: FakeSocket | undefined;
  const tunnel = pair(() => program, { userEvents: { refused: (reason) => void refusals.push(reason), answered: () => void refusals.push("answered") } });
  const refused = new FakeSocket();
  tunnel.user.open(refused);
  await tunnel.settle();
  t.ok(refused.wasReset);
  program = new FakeSocket();
  const open = new FakeSocket();
  tunnel.user.open(open);
  await tunnel.settle();
  t.same(refusals, ["refused", "answered"]);
  program.reset();
  await tunnel.settle();
  t.ok(open.wasReset, "a reset in the container is one here");
  program = new FakeSocket();
  const other = new FakeSocket();
  tunnel.user.open(other);
  await tunnel.settle();
  tunnel.host.resetAll("not-running");
  await tunnel.settle();
  t.ok(other.wasReset && program.wasReset);
  program = new FakeSocket();
  const last = new FakeSocket();
  tunnel.user.open(last);
  await tunnel.settle();
  tunnel.user.close();
  t.ok(last.wasReset, "the stream is lost: so are its connections");
  t.notOk(tunnel.user.open(new FakeSocket()));
  t.same(refusals, ["refused", "answered", "answered", "answered"]);
});

t.test("fuzz: whatever the other side sends is served, ignored or ends the tunnel; nothing grows, nothing crashes", async (t) => {
  const numbers = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  const encoded = (one: TunnelFrame): Uint8Array => Buffer.concat(encodeTunnelFrame(one));
  const frame = fc.oneof(
    numbers.map((connection) => encoded({ kind: "open", connection })),
    fc
      .record({ connection: numbers, length: fc.integer({ min: 1, max: 65_536 }) })
      .map(({ connection, length }) => encoded({ kind: "data", connection, data: Buffer.alloc(length) })),
    numbers.map((connection) => encoded({ kind: "end", connection })),
    numbers.map((connection) => encoded({ kind: "reset", connection, reason: "failed" })),
    fc
      .record({ connection: numbers, bytes: fc.integer({ min: 0, max: 2 ** 32 - 1 }) })
      .map(({ connection, bytes }) => encoded({ kind: "credit", connection, bytes })),
    fc.uint8Array({ maxLength: 20 }),
    fc.uint8Array({ minLength: 5, maxLength: 20 }).map((bytes) => Uint8Array.from([0x30 + ((bytes[0] ?? 0) % 7), ...bytes.subarray(1)])),
  );
  let ended = 0;
  let served = 0;
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 60 }), fc.boolean(), (frames, takes) => {
      const budget = new Budget({ connectionsMax: 16, poolBytes: 1_000_000 });
      const sent: Uint8Array[] = [];
      const host = new Multiplexer({ send: (...parts) => sent.push(Buffer.concat(parts)) > 0 }, budget, {
        opened: (connection) => {
          const socket = new FakeSocket();
          socket.takes = takes;
          connection.accept(socket);
          socket.say(Buffer.alloc(1_000));
        },
      });
      try {
        for (const bytes of frames) host.receive(bytes);
        served += host.size > 0 ? 1 : 0;
      } catch (error) {
        if (!(error instanceof CcError) || error.code !== "BAD_REQUEST") throw error;
        ended += 1;
      }
      if (budget.connections > 16 || host.heldBytes > 16 * FIRST_WINDOW_BYTES + 1_000_000 + 16_000) throw new Error(`${host.heldBytes} bytes are held`);
      host.close();
      if (budget.connections !== 0 || budget.lentBytes !== 0) throw new Error("something is left");
    }),
    { seed: SEED, numRuns: 600 },
  );
  t.ok(ended > 100 && served > 20, `${ended} ended, ${served} served`);
});
