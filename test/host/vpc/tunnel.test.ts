import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import type { PeerId } from "../../../src/base/index.ts";
import { createCommandRunner } from "../../../src/host/index.ts";
import { openTunnel, whyNoTunnel } from "../../../src/vpc/drivers/tunnel.ts";
import { isTunnelKey, tunnelAddress } from "../../../src/vpc/index.ts";
import { Scene } from "./harness.ts";

let scene: Scene;
t.before(async () => {
  scene = await Scene.open(["one"]);
});
t.teardown(() => scene.close());

t.test("whether this kernel has WireGuard is found out without a trace", async (t) => {
  const { shell } = scene.host(0);
  const links = await scene.host(0).run("ip -br link");
  const why = await whyNoTunnel(shell);
  t.equal(await scene.host(0).run("ip -br link"), links);
  t.match(why ?? "the kernel has no WireGuard", "the kernel has no WireGuard", "all else is there");
  const without = { ...shell, run: (script: string) => shell.run(`PATH=/nowhere\n${script}`) };
  t.match(await whyNoTunnel(without), /wg is not installed/);
});

t.test("a host's key is made once, is its own, and is WireGuard's", async (t) => {
  const { shell } = scene.host(0);
  const file = join(scene.folder, "wireguard.key");
  const { publicKey } = await openTunnel(shell, file);
  t.ok(isTunnelKey(publicKey));
  t.equal((await stat(file)).mode & 0o777, 0o600);
  const secret = await readFile(file, "utf8");
  t.not(secret.trim(), publicKey);
  const { stdout } = await createCommandRunner().run(["wg", "pubkey"], { input: secret });
  t.equal(stdout.trim(), publicKey);
  t.equal((await openTunnel(shell, file)).publicKey, publicKey, "the next peer has the same");
  await writeFile(file, "half a ke");
  const anew = (await openTunnel(shell, file)).publicKey;
  t.ok(isTunnelKey(anew) && anew !== publicKey);
});

t.test("somebody's device of that name is seen for what it is; where nothing needs the tunnel, it goes", async (t) => {
  const host = scene.host(0);
  const tunnel = await openTunnel(host.shell, join(scene.folder, "wireguard.key"));
  t.equal(await tunnel.converge(undefined), false, "nothing was there");
  await host.run("ip link add ccwg0 type bridge");
  const wanted = { address: tunnelAddress("one" as PeerId), mtu: 1_420, port: 7_441, peers: [] };
  if ((await whyNoTunnel(host.shell)) === undefined) {
    t.equal(await tunnel.converge(wanted), true);
    t.equal(await tunnel.converge(wanted), false);
    t.match(await host.run("wg show ccwg0"), tunnel.publicKey);
  } else {
    await t.rejects(tunnel.converge(wanted), { code: "INTERNAL", message: /ccwg0/ }, "npm run test:vm has a kernel with WireGuard");
    await host.run("ip link show ccwg0 || ip link add ccwg0 type bridge");
  }
  t.equal(await tunnel.follow(undefined), true, "what is not known is looked at");
  t.notMatch(await host.run("ip -br link"), /ccwg0/);
  t.equal(await tunnel.follow(undefined), false);
});
