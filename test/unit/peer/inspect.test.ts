import { create } from "@bufbuild/protobuf";
import t from "tap";
import { hasEndedForGood } from "../../../nodes/peer/core/handlers/wait.ts";
import { World } from "../../../nodes/simulated/world.ts";
import { InspectRequestSchema, WaitRequestSchema } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import type { CallContext, Role } from "../../../src/api/index.ts";

t.setTimeout(60_000);
const MIB = 1024 ** 2;
const spec = {
  image: "registry.test/app:1",
  command: ["sleep", "3000", "7"],
  memoryBytes: 16 * MIB,
  diskBytes: 16 * MIB,
  cpuShares: 2,
  name: "app",
  env: { SECRET: "of operators" },
  labels: { team: "web" },
  registryUser: "lab",
  registryPassword: "of nobody",
};

t.test("what is shown of a container, and to whom; its end is waited for at a host that has not got it", async (t) => {
  const world = new World({ seed: 11, zones: ["a", "a"] });
  await world.tell(async () => {
    await world.build();
    const run = await world.admin.ask([world.host(0).endpoint], "Run", { spec, attach: false, explain: false, askedBefore: [] });
    if (run.outcome !== "done") throw new Error(run.message);
    await world.sleep(1_000);
    const context = (role: Role): CallContext => {
      const signed = { $typeName: "cc.v1.SignedRequest", body: new Uint8Array(), signatureInput: "", signature: "" } as const;
      const caller = { keyId: world.admin.keyId, role, isRoot: false, nonce: "", createdMs: 0, signed };
      return { caller, signal: AbortSignal.timeout(60_000), via: undefined };
    };
    const ids: string[] = [];
    for (const host of [world.host(0), world.host(1)]) {
      const { signed } = host.life?.core ?? {};
      const asked = create(InspectRequestSchema, { containers: ["app", "nobody"] });
      const forOperator = await signed?.inspect(asked, context("operator"));
      const forViewer = await signed?.inspect(asked, context("viewer"));
      const one = forOperator?.containers?.[0];
      ids.push(one?.status?.id ?? "");
      t.match(one?.spec, { image: spec.image, command: spec.command, env: spec.env, labels: spec.labels, registryUser: "lab", registryPassword: "" });
      t.match(one, { created: { call: "Run", key: world.admin.keyId }, claims: [{ epoch: 1, warrant: "award", counts: true }] });
      t.equal(one?.wanted, undefined);
      t.match(forViewer?.containers?.[0]?.spec, { image: spec.image, env: {}, registryUser: "", registryPassword: "" });
      t.notMatch(
        JSON.stringify([forViewer, forOperator], (_, value) => (typeof value === "bigint" ? String(value) : value)),
        /of nobody/,
      );
      t.match(forOperator?.errors, [{ item: "nobody", code: "NOT_FOUND" }]);
    }
    const [id = ""] = ids;
    for (const host of [world.host(0), world.host(1)]) {
      const wait = (waitMs: number) => host.life?.core.signed.wait(create(WaitRequestSchema, { containers: [id], waitMs }), context("viewer"));
      if (host === world.host(0)) t.same((await wait(1))?.ended, [], "it runs yet");
      t.match((await wait(10_000))?.ended, [{ id, exitCode: 7, phase: "ended" }]);
    }
    const unknown = create(WaitRequestSchema, { containers: ["caaaaaaaaaaaaaaaaaaaa"], waitMs: 10_000 });
    t.match((await world.host(0).life?.core.signed.wait(unknown, context("viewer")))?.errors, [{ code: "NOT_FOUND" }]);
  });
  t.same(world.violations, []);
});

t.test("ended for good", async (t) => {
  const best = { holder: "p", epoch: 1 } as never;
  const of = (phase: string | undefined, wanted?: object, answered = 0) =>
    hasEndedForGood({
      phase: phase === undefined ? undefined : ({ phase, wantedMajor: answered, wantedMinor: 0 } as never),
      wanted: wanted as never,
      gone: false,
      best,
    });
  for (const phase of ["claimed", "pulling", "starting", "running", "stopping", "backoff", undefined]) t.notOk(of(phase), String(phase));
  for (const phase of ["ended", "failed", "gone"]) t.ok(of(phase), phase);
  const start = { kind: "running", version: { major: 5, minor: 0 } };
  t.notOk(of("ended", start, 4), "it is on its way to run again");
  t.ok(of("ended", start, 5), "and has ended since");
  t.ok(of("ended", { kind: "stopped", version: { major: 5, minor: 0 } }));
  t.ok(hasEndedForGood({ phase: undefined, wanted: undefined, gone: false, best: undefined }), "lost");
  t.ok(hasEndedForGood({ phase: { phase: "running" } as never, wanted: undefined, gone: true, best }), "removed");
});
