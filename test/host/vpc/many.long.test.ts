import t from "tap";
import { makeVpc, probe, Scene } from "./harness.ts";

const VPCS = Number(process.env["CC_TEST_VPCS"] ?? 200);

t.test(`${VPCS} VPCs of the same addresses on one host`, async (t) => {
  const scene = await Scene.open(["one", "two"]);
  t.teardown(() => scene.close());
  const [host, other] = [scene.host(0), scene.host(1)];
  const vpcs = Array.from({ length: VPCS }, () => makeVpc());
  const all = () => ({ underlay: scene.underlay(host), vpcs: vpcs.map((vpc) => scene.vpcAt(host, vpc)) });
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const startedMs = performance.now();
    const result = await work();
    t.comment(`${what}: ${Math.round(performance.now() - startedMs)} ms`);
    return result;
  };
  const made = await timed("made", () => host.overlay.converge(all));
  t.same([made.changed.length, made.missing, made.failed], [VPCS, [], []]);
  t.equal(new Set([...host.overlay.transits().values()].map(({ value }) => value)).size, VPCS, "each has its own transit");
  t.same(await timed("looked at", () => host.overlay.converge(all)), { changed: [], missing: [], failed: [] });
  t.same(await timed("a few looked at", () => host.overlay.converge(all, undefined, 5)), { changed: [], missing: [], failed: [] });
  t.same(await timed("followed", () => host.overlay.follow(all)), { changed: [], missing: [], failed: [] });
  await timed("opened again", () => host.open());

  const chosen = [vpcs[0], vpcs[Math.floor(VPCS / 2)], vpcs[VPCS - 1]].filter((vpc) => vpc !== undefined);
  for (const vpc of chosen) {
    const far = await scene.start(other, vpc, "10.0.0.20");
    const near = await timed("attached", () => scene.start(host, vpc, "10.0.0.10"));
    await other.overlay.follow(() => scene.network(other));
    t.same(await probe(near, [far.address, vpc.gateway]), []);
  }
  t.same((await host.overlay.converge(all)).changed, [], "nothing is left to do");
  const gone = await timed("removed", () => host.overlay.converge(() => ({ underlay: scene.underlay(host), vpcs: [] })));
  t.same([gone.changed.length, gone.failed], [VPCS, []]);
  t.same(await host.pins(), []);
  t.notMatch(await host.run("ip -br link"), /cc-/);
});
