import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { serialize } from "node:v8";
import t, { type Test } from "tap";
import type { PeerId } from "../../../src/base/index.ts";
import type { VpcNetwork } from "../../../src/vpc/index.ts";
import type { CrashWork } from "./crash-child.ts";
import { CutShell } from "./cut-shell.ts";
import { ip, makeVpc, probe, Scene, type TestContainer, type TestHost, type TestVpc } from "./harness.ts";

/** Every so many lines a cut; 1: at each. */
const STRIDE = Number(process.env["CC_TEST_CUT_STRIDE"] ?? 5);
const KILLS = Number(process.env["CC_TEST_KILLS"] ?? 6);
const nothing = { changed: [], missing: [], failed: [] };

let scene: Scene;
let host: TestHost;
t.before(async () => {
  scene = await Scene.open(["one"]);
  host = scene.host(0);
});
t.teardown(() => scene.close());

/** Containers of hosts that are not there: they make lines. */
function withOthers(network: VpcNetwork): VpcNetwork {
  const others = [20, 21].map((last) => ({ address: ip(`10.0.0.${last}`), host: ip("172.31.0.9"), peer: "other" as PeerId }));
  return { ...network, remote: others };
}

const networkOf = (vpcs: readonly TestVpc[]) => () => ({ underlay: scene.underlay(host), vpcs: vpcs.map((vpc) => withOthers(scene.vpcAt(host, vpc))) });

/** What the next peer does, and that it ends where it should. */
async function converges(t: Test, vpcs: readonly TestVpc[], containers: readonly TestContainer[], where: string): Promise<void> {
  const driver = await host.open();
  const { missing, failed } = await driver.converge(networkOf(vpcs));
  t.same(failed, [], where);
  for (const container of containers)
    if (missing.some(({ port }) => port.container === container.id)) await scene.attach(container, withOthers(scene.vpcAt(host, container.vpc)));
  t.same(await driver.converge(networkOf(vpcs)), nothing, `${where}: all is as it should be`);
  const [first, ...others] = containers;
  if (first !== undefined) t.same(await probe(first, [first.vpc.gateway, ...others.map(({ address }) => address)]), [], where);
  t.same(await host.pins(), vpcs.map(({ id }) => id).toSorted());
}

/** Does `work` again and again, each time cut off later, until it is not. Gives at how many places it was. */
async function cutEverywhere(work: (shell: CutShell) => Promise<void>, then: (where: string) => Promise<void>): Promise<number> {
  for (let after = 0, places = 0; ; after += STRIDE, places += 1) {
    const shell = new CutShell(host, after);
    const error: unknown = await work(shell).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!shell.isCut && error !== undefined) throw error;
    await then(`cut after ${after} lines`);
    if (!shell.isCut) return places;
  }
}

t.test("cut off while a VPC and its first container come", async (t) => {
  const vpc = makeVpc();
  const beside = await scene.start(host, makeVpc(), "10.0.0.10");
  const container = await scene.makeContainer(host, vpc, "10.0.0.10");
  const places = await cutEverywhere(
    async (shell) => {
      const driver = await host.open(shell, shell.program);
      await driver.converge(networkOf([vpc, beside.vpc]));
      await scene.attach(container, withOthers(scene.vpcAt(host, vpc)));
    },
    async (where) => {
      await converges(t, [vpc, beside.vpc], [container], where);
      t.same(await probe(beside, [beside.vpc.gateway]), [], "the other VPC");
      await host.overlay.converge(networkOf([beside.vpc]));
      t.same(await host.pins(), [beside.vpc.id]);
    },
  );
  t.ok(places > 30 / STRIDE, `${places} places`);
  scene.drop(container);
  scene.drop(beside);
  await host.overlay.converge(networkOf([]));
});

t.test("cut off while a change is made, and while containers and the VPC go", async (t) => {
  const vpc = makeVpc();
  const stays = await scene.start(host, vpc, "10.0.0.10");
  const goes = await scene.makeContainer(host, vpc, "10.0.0.11");
  const places = await cutEverywhere(
    async (shell) => {
      const driver = await host.open();
      await driver.converge(networkOf([vpc]));
      await scene.attach(goes, withOthers(scene.vpcAt(host, vpc)));
      await host.inVpc(vpc.id, "ip link del vx0; ip neigh del 10.0.0.20 dev br0");
      const next = await host.open(shell, shell.program);
      await next.converge(networkOf([vpc]));
      await next.detach(goes.id);
    },
    async (where) => {
      t.same(await probe(stays, [vpc.gateway]), [], `${where}: the other container`);
      const all = [...(host.local.get(vpc.id) ?? [])];
      host.local.set(
        vpc.id,
        all.filter(({ container }) => container === stays.id),
      );
      await converges(t, [vpc], [stays], where);
      host.local.set(vpc.id, all);
    },
  );
  t.ok(places > 10 / STRIDE, `${places} places`);
  scene.drop(goes);
  const cut = new CutShell(host, 1);
  await host.open(cut, cut.program);
  await t.rejects(host.overlay.detach(stays.id), { code: "CANCELLED" });
  scene.drop(stays);
  await converges(t, [], [], "its last container");
  t.notMatch(await host.run("ip -br link"), /cc-/);
});

t.test(`killed with SIGKILL at ${KILLS} moments, its commands going on`, async (t) => {
  const vpc = makeVpc();
  const container = await scene.makeContainer(host, vpc, "10.0.0.10");
  for (let moment = 0; moment < KILLS; moment += 1) {
    const work: CrashWork = {
      netns: host.netns,
      runDir: host.runDir,
      request: {
        underlay: scene.underlay(host),
        vpc: withOthers(scene.vpcAt(host, vpc)),
        port: { container: container.id, address: container.address },
        namespacePath: container.namespacePath,
      },
      script: 1 + Math.floor(moment / 2),
      isDuring: moment % 2 === 0,
    };
    const child = spawn(process.execPath, [fileURLToPath(new URL("./crash-child.ts", import.meta.url)), serialize(work).toString("base64")], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const [, signal] = await once(child, "exit");
    t.equal(signal, "SIGKILL");
    await converges(t, [vpc], [container], `${work.isDuring ? "during" : "after"} script ${work.script}`);
    if (moment % 3 === 2) await host.overlay.detach(container.id);
  }
  scene.drop(container);
  await converges(t, [], [], "all gone");
});
