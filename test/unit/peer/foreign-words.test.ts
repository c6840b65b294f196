import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import type { SimulatedHost } from "../../../nodes/simulated/host.ts";
import { SimulatedMesh } from "../../../nodes/simulated/mesh.ts";
import { World } from "../../../nodes/simulated/world.ts";
import { Cloud } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { BidRequestSchema, Mesh as MeshService, RecordsSchema, StreamOpenSchema } from "../../../src/api/gen/cc/v1/mesh_pb.ts";
import { type CloudCall, isOpenCall, type OpenCall, type SignedCall } from "../../../src/api/index.ts";
import { asCcError, isContainerId, type PeerId } from "../../../src/base/index.ts";
import { bidTopic, type FrameStream, type MeshCall, RECORDS_TOPIC, type StreamHandler } from "../../../src/mesh/index.ts";
import { arbitraryMessage, arbitraryWire, type Vocabulary } from "./arbitrary-message.ts";

/** Words from outside against a whole peer: whatever a neighbour or a user says, the answer is an answer or a refusal. */
const SEED = Number(process.env["CC_TEST_SEED"] ?? 20_260_701);
const RUNS = 150;
t.setTimeout(120_000);

/** The simulated network carries no byte streams; what a peer would do with an opening is asked of its handler. */
const streamHandlers = new Map<PeerId, StreamHandler>();
SimulatedMesh.prototype.handleStreams = function (this: SimulatedMesh, handler: StreamHandler): void {
  streamHandlers.set(this.self, handler);
};

const MIB = 1024 ** 2;
const spec = { image: "registry.test/app:1", command: ["serve"], memoryBytes: 16 * MIB, diskBytes: 16 * MIB, cpuShares: 2, name: "app" };

function coreOf(host: SimulatedHost) {
  if (host.life === undefined) throw new Error(`${host.name} is down`);
  return host.life.core;
}

/** Two hosts, a container, and the words of which their records are made. */
async function inMesh(body: (world: World, words: Vocabulary) => Promise<void>): Promise<readonly string[]> {
  const world = new World({ seed: SEED, zones: ["a", "a"] });
  await world.tell(async () => {
    await world.build();
    const run = await world.admin.ask([world.host(0).endpoint], "Run", { spec, attach: false, explain: false, askedBefore: [] });
    if (run.outcome !== "done") throw new Error(`${run.outcome}: ${run.message}`);
    await world.sleep(2_000);
    await body(world, wordsOf(world));
    // Still a mesh: it takes another container and knows the first.
    const after = await world.admin.ask([world.host(0).endpoint], "Run", { spec: { ...spec, name: "after" }, attach: false, explain: false, askedBefore: [] });
    if (after.outcome !== "done") throw new Error(`afterwards: ${after.outcome}: ${after.message}`);
    const names = coreOf(world.host(1))
      .view.containers()
      .map(({ name }) => name);
    if (!names.includes("app") || !names.includes("after")) throw new Error(`afterwards known: ${names.join()}`);
  });
  return world.violations.map(({ invariant, text }) => `${invariant}: ${text}`);
}

function wordsOf(world: World): Vocabulary {
  const records = coreOf(world.host(0)).replica.list("");
  return {
    strings: [
      ...records.map(({ key }) => key),
      ...records.map(({ key }) => key.split("/").at(-1) ?? ""),
      world.host(0).peer,
      world.host(1).peer,
      world.meshId,
      world.admin.keyId,
      "a",
      "app",
      "container",
      "Run",
      "Logs",
      "Tunnel",
      "Attach",
      "Exec",
    ],
    bytes: records.flatMap(({ content, frame }) => [
      content,
      toBinary(RecordsSchema, create(RecordsSchema, { frames: [frame] })),
      frame.signature ?? new Uint8Array(),
    ]),
  };
}

const isRefusal = (thrown: unknown): boolean => asCcError(thrown).code !== "INTERNAL";

t.test("calls of a member", async (t) => {
  const faults = await inMesh(async (world, words) => {
    const mesh = world.host(0).life?.mesh;
    const from = world.host(1).peer;
    for (const name of Object.keys(MeshService.method) as MeshCall[]) {
      const handler = mesh?.handlerOf(name);
      if (handler === undefined) throw new Error(`nobody answers ${name}`);
      const { input, output } = MeshService.method[name];
      await fc.assert(
        fc.asyncProperty(arbitraryWire(input, words), async (bytes) => {
          let request: unknown;
          try {
            request = fromBinary(input, bytes);
          } catch {
            return; // The transport refuses what is no message before anybody sees it.
          }
          try {
            const reply = await handler(request as never, from, AbortSignal.any([]));
            toBinary(output, create(output, reply as never));
          } catch (thrown) {
            if (!isRefusal(thrown)) throw new Error(`${name}: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
          }
        }),
        { seed: SEED, numRuns: RUNS },
      );
    }
    const { records, waiting } = coreOf(world.host(0)).replica.counts();
    t.ok(records < 200 && waiting <= 2_000, `${records} records, ${waiting} waiting`);
  });
  t.same(faults, []);
});

t.test("gossip of a member", async (t) => {
  const faults = await inMesh(async (world, words) => {
    const mesh = world.host(1).life?.mesh;
    const topics = [
      [RECORDS_TOPIC, RecordsSchema],
      [bidTopic("a"), BidRequestSchema],
    ] as const;
    for (const [topic, schema] of topics) {
      await fc.assert(
        fc.asyncProperty(arbitraryWire(schema, words), async (bytes) => {
          mesh?.publish(topic, bytes);
          await world.sleep(10);
        }),
        { seed: SEED, numRuns: RUNS },
      );
    }
    await world.sleep(5_000);
    const [a, b] = [coreOf(world.host(0)), coreOf(world.host(1))];
    t.same(Buffer.from(a.replica.digest()), Buffer.from(b.replica.digest()), "both know the same");
  });
  t.same(faults, []);
});

t.test("openings of streams, and frames on them", async (t) => {
  const faults = await inMesh(async (world, words) => {
    const handler = streamHandlers.get(world.host(0).peer);
    if (handler === undefined) throw new Error("nobody takes streams");
    const frames = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 5 });
    const named = fc
      .record({
        call: fc.constantFrom("Run", "Logs", "Attach", "Exec", "Blob", "Push", "Tunnel"),
        container: fc.constantFrom(...words.strings.filter(isContainerId)),
        request: fc.record({ body: fc.constantFrom(...words.bytes), signatureInput: fc.constantFrom(...words.strings), signature: fc.string() }),
      })
      .map((init) => toBinary(StreamOpenSchema, create(StreamOpenSchema, init)));
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.oneof(arbitraryWire(StreamOpenSchema, words), named), frames, async (opening, sent) => {
        const said: Uint8Array[] = [];
        await handler(opening, fakeStream(world.host(1).peer, sent, said)).catch((thrown: unknown) => {
          // What cannot be read as an opening ends the stream; anything else is said on it.
          if (!isRefusal(thrown)) throw thrown;
        });
        const last = said.at(-1);
        if (last !== undefined) {
          const event: { code?: string } = JSON.parse(Buffer.from(last.subarray(1)).toString("utf8"));
          if (event.code === "INTERNAL") throw new Error(Buffer.from(last).toString("utf8"));
          refused += 1;
        }
      }),
      { seed: SEED, numRuns: RUNS },
    );
    t.ok(refused > RUNS / 4, `${refused} told why`);
  });
  t.same(faults, []);
});

t.test("calls without a signature", async (t) => {
  const faults = await inMesh(async (world, words) => {
    const { open } = coreOf(world.host(0));
    for (const call of (Object.keys(Cloud.method) as CloudCall[]).filter(isOpenCall)) {
      const { input } = Cloud.method[call];
      await fc.assert(
        fc.asyncProperty(arbitraryMessage(input, words), async (init) => {
          const handler = open[call as OpenCall] as (request: never, context: object) => Promise<object>;
          try {
            await handler(create(input, init as never) as never, { signal: AbortSignal.any([]), remoteAddress: "192.0.2.7" });
          } catch (thrown) {
            if (!isRefusal(thrown)) throw new Error(`${call}: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
          }
        }),
        { seed: SEED, numRuns: RUNS },
      );
    }
    t.equal(coreOf(world.host(0)).admitted.peers().length, 2, "nobody was admitted by them");
  });
  t.same(faults, []);
});

t.test("well-signed requests that ask for nonsense", async (t) => {
  const faults = await inMesh(async (world, words) => {
    const life = world.host(0).life;
    if (life === undefined) throw new Error("down");
    // Those that would take the mesh's own keys or hosts away are left out: what they are asked for, they do.
    const calls = (Object.keys(Cloud.method) as CloudCall[]).filter(
      (call) => !isOpenCall(call) && call !== "removeHost" && call !== "revokeKey",
    ) as SignedCall[];
    const caller = { keyId: world.admin.keyId, role: "admin", isRoot: false, nonce: "0123456789abcdef", createdMs: life.clock.nowMs() };
    for (const call of calls) {
      const { input, output } = Cloud.method[call];
      const handler = life.core.signed[call] as (request: never, context: object) => Promise<object>;
      await fc.assert(
        fc.asyncProperty(arbitraryMessage(input, words), fc.constantFrom(...words.bytes), async (init, body) => {
          const signed = { $typeName: "cc.v1.SignedRequest", body, signatureInput: "cc=()", signature: "cc=::" };
          const context = { caller: { ...caller, signed }, signal: AbortSignal.timeout(60_000), via: undefined };
          try {
            const reply = await handler(create(input, init as never) as never, context);
            toBinary(output, create(output, reply as never));
          } catch (thrown) {
            if (!isRefusal(thrown)) throw new Error(`${call}: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
          }
        }),
        { seed: SEED, numRuns: 60 },
      );
    }
  });
  t.same(faults, []);
});

function fakeStream(peer: PeerId, sent: readonly Uint8Array[], said: Uint8Array[]): FrameStream {
  return {
    peer,
    send: async (frame) => void said.push(frame),
    frames: async function* () {
      yield* sent;
    },
    end: async () => undefined,
    abort: () => undefined,
  };
}
