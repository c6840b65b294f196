import { parseIp } from "../../../src/base/index.ts";
import { systemClock, systemRandom } from "../../../src/host/index.ts";
import { createPcpDriver } from "../../../src/ports/drivers/pcp/pcp.ts";

// Maps one TCP port of the host that it runs on, to show that the lab's router does: map-port.ts GATEWAY ADDRESS PORT
const [gateway, local] = [parseIp(process.argv[2] ?? ""), parseIp(process.argv[3] ?? "")];
const port = Number(process.argv[4]);
if (gateway === undefined || local === undefined) throw new Error("which router, and which address?");
const { signal } = new AbortController();
const driver = createPcpDriver({ clock: systemClock, random: systemRandom, secret: new Uint8Array(32) });
const session = await driver.find({ gateway, local, device: "" }, signal);
if (!session.ok) throw new Error(session.trouble.reason);
const grant = await session.value.map(
  { protocol: "tcp", internalPort: port, externalPort: port, leaseSeconds: 600, description: "test", renewal: false },
  signal,
);
if (!grant.ok) throw new Error(grant.trouble.reason);
