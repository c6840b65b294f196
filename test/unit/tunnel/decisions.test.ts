import fc from "fast-check";
import t from "tap";
import { CcError } from "../../../src/base/index.ts";
import { retryDelayMs } from "../../../src/tunnel/backoff.ts";
import { formatAddress, parseBind } from "../../../src/tunnel/bind.ts";
import { DATA_BYTES_MAX, decodeTunnelFrame, encodeTunnelFrame, isTunnelFrame, type TunnelFrame } from "../../../src/tunnel/frames.ts";
import { standingLine } from "../../../src/tunnel/standing.ts";
import { Budget, FIRST_WINDOW_BYTES, ReceiveWindow, WINDOW_BYTES_MAX } from "../../../src/tunnel/window.ts";

t.test("addresses to listen on", async (t) => {
  const good: Record<string, [string, number]> = {
    "8080": ["127.0.0.1", 8080],
    ":0": ["127.0.0.1", 0],
    "0": ["127.0.0.1", 0],
    "0.0.0.0:80": ["0.0.0.0", 80],
    "localhost:5432": ["localhost", 5432],
    "[::1]:8080": ["::1", 8080],
    "[::]:0": ["::", 0],
    "[fe80::1%eth0]:65535": ["fe80::1%eth0", 65_535],
  };
  for (const [text, [address, port]] of Object.entries(good)) t.same(parseBind(text), { ok: true, value: { address, port } }, text);
  for (const text of [
    "",
    ":",
    "x",
    "::1:80",
    "1.2.3:80",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:65536",
    "[::1]",
    "[127.0.0.1]:80",
    "[]:80",
    "example.org:80",
    "80:80",
    "-1",
    "1e3",
  ])
    t.match(parseBind(text), { ok: false, code: "BAD_USAGE" }, JSON.stringify(text));
  t.equal(formatAddress({ address: "::1", port: 1 }), "[::1]:1");
  t.equal(formatAddress({ address: "127.0.0.1", port: 1 }), "127.0.0.1:1");
});

t.test("frames: what was written is read, anything else is refused", async (t) => {
  const connection = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  const frame: fc.Arbitrary<TunnelFrame> = fc.oneof(
    connection.map((connection) => ({ kind: "open", connection }) as const),
    connection.map((connection) => ({ kind: "opened", connection }) as const),
    connection.map((connection) => ({ kind: "end", connection }) as const),
    fc.record({ kind: fc.constant("data" as const), connection, data: fc.uint8Array({ minLength: 1, maxLength: 300 }) }),
    fc.record({ kind: fc.constant("reset" as const), connection, reason: fc.constantFrom("broken", "refused", "not-running", "no-room", "failed") }),
    fc.record({ kind: fc.constant("credit" as const), connection, bytes: fc.integer({ min: 1, max: 2 ** 30 }) }),
  );
  fc.assert(
    fc.property(frame, (given) => {
      const bytes = Buffer.concat(encodeTunnelFrame(given));
      const read = decodeTunnelFrame(bytes);
      return isTunnelFrame(bytes) && Buffer.concat(encodeTunnelFrame(read)).equals(bytes) && read.kind === given.kind && read.connection === given.connection;
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      try {
        decodeTunnelFrame(bytes);
        return isTunnelFrame(bytes);
      } catch (error) {
        return error instanceof CcError && error.code === "BAD_REQUEST";
      }
    }),
    { numRuns: 2_000 },
  );
  t.throws(() => decodeTunnelFrame(Buffer.concat(encodeTunnelFrame({ kind: "data", connection: 1, data: Buffer.alloc(DATA_BYTES_MAX + 1) }))), {
    code: "BAD_REQUEST",
  });
  t.throws(() => decodeTunnelFrame(Buffer.concat(encodeTunnelFrame({ kind: "credit", connection: 1, bytes: 2 ** 31 }))), { code: "BAD_REQUEST" });
  t.notOk(isTunnelFrame(Uint8Array.of(0x12, 0x7b)), "an event is none");
});

t.test("windows: never more promised than there is room, and what was used up is promised anew", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.record({ send: fc.nat(200_000), take: fc.nat(200_000) }), { maxLength: 200 }), fc.nat(4_000_000), (steps, poolBytes) => {
      const budget = new Budget({ connectionsMax: 1, poolBytes });
      const window = new ReceiveWindow(budget);
      let credit = FIRST_WINDOW_BYTES;
      for (const { send, take } of steps) {
        const sent = Math.min(send, credit);
        if (sent > 0 && !window.received(sent)) return false;
        credit -= sent;
        const taken = Math.min(take, window.heldBytes);
        if (taken > 0) credit += window.taken(taken);
        if (credit + window.heldBytes > Math.min(WINDOW_BYTES_MAX, FIRST_WINDOW_BYTES + budget.lentBytes) || budget.lentBytes > poolBytes) return false;
      }
      // A reader that has taken all lets the sender go on.
      if (window.heldBytes > 0) credit += window.taken(window.heldBytes);
      if (credit === 0 || window.received(credit + 1)) return false;
      window.close();
      return budget.lentBytes === 0;
    }),
  );
  const budget = new Budget();
  const window = new ReceiveWindow(budget);
  let credit = FIRST_WINDOW_BYTES;
  for (let sent = 0; sent < 16 * 1024 * 1024; sent += 32 * 1024) {
    window.received(32 * 1024);
    credit += window.taken(32 * 1024) - 32 * 1024;
  }
  t.ok(credit > WINDOW_BYTES_MAX / 2, `bulk gets ${credit} bytes of room`);
});

t.test("waits between attempts grow to five seconds, and differ", async (t) => {
  t.same(
    [0, 1, 2, 3, 4, 5, 6, 7, 50].map((failures) => retryDelayMs(failures, 0)),
    [0, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000],
  );
  t.equal(retryDelayMs(9, 0.999), 3_751);
});

t.test("a line for each change, none for what is known", async (t) => {
  const target = { name: "db", port: 5432 };
  const stopped = { kind: "stopped", text: "it ended with 1" } as const;
  t.equal(standingLine(undefined, { kind: "serving" }, target), undefined);
  t.equal(standingLine({ kind: "serving" }, { kind: "serving" }, target), undefined);
  t.match(standingLine(undefined, stopped, target), /^db does not run \(it ended with 1\)/);
  t.equal(standingLine(stopped, { ...stopped }, target), undefined);
  t.match(standingLine(stopped, { kind: "stopped", text: "it is backoff" }, target), /backoff/);
  t.match(standingLine(stopped, { kind: "serving" }, target), /^db is reached/);
  t.match(standingLine({ kind: "serving" }, { kind: "port-closed" }, target), /port 5432/);
  t.match(standingLine({ kind: "serving" }, { kind: "unreachable", text: "h2 is down" }, target), /h2 is down/);
  t.equal(standingLine({ kind: "unreachable", text: "a" }, { kind: "unreachable", text: "b" }, target), undefined);
});
