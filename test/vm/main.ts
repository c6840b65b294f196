/** Runs inside the virtual machine of `npm run test:vm`, which has what kernels of test machines may lack: WireGuard, and cgroups of version 2 alone. */
import { createShellHelper } from "../../src/host/index.ts";
import { whyNoTunnel } from "../../src/vpc/drivers/tunnel.ts";
import { makeScene } from "../host/containers/harness.ts";
import { makeVpc, Scene } from "../host/vpc/harness.ts";
import { Containers, checkCgroups, VpcOfTest } from "./containers.ts";
import { EncryptionChecks } from "./encryption.ts";
import { Mesh } from "./mesh.ts";
import { check, closingLine, tell } from "./report.ts";

const seconds = (): string => `${Math.round(process.uptime())} s`;

const shell = createShellHelper();
const why = await whyNoTunnel(shell);
await shell.close();
check("this kernel has WireGuard, and the peer's probe finds it", why === undefined, why);

const scene = await Scene.open(["one", "two", "three"]);
const vpc = makeVpc();
const networks = new VpcOfTest(vpc);
const mesh = await Mesh.open(scene, vpc, (container) => networks.namespaceOf(container));
networks.mesh = mesh;
const containerScene = await makeScene();
const containers = new Containers(await containerScene.open(networks), containerScene, networks);
tell(`three hosts are there after ${seconds()}`);
try {
  await checkCgroups(containers);
  const checks = new EncryptionChecks({ scene, mesh, vpc, containers });
  tell(`containers and cgroups: ${seconds()}`);
  await checks.compare();
  tell(`with and without: ${seconds()}`);
  await checks.repairs();
} catch (error) {
  check("all of it ran", false, error instanceof Error ? (error.stack ?? error.message) : String(error));
}
tell(`done after ${seconds()}`);
// What is left here goes with the machine.
console.log(closingLine());
process.exit(0);
