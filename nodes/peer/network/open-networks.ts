import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { ContainerId, Logger, ShellHelper } from "../../../src/base/index.ts";
import { createNftProgram } from "../../../src/firewall/drivers/nft/program.ts";
import { createNftFirewall } from "../../../src/firewall/drivers/nft.ts";
import { createShellHelper, systemClock, systemRandom } from "../../../src/host/index.ts";
import { listeningPorts } from "../../../src/ports/drivers/listening.ts";
import { createNameServer } from "../../../src/vpc/drivers/name-server.ts";
import { createPortProgram } from "../../../src/vpc/drivers/overlay/port-program.ts";
import { openOverlay } from "../../../src/vpc/drivers/overlay.ts";
import { openTunnel, whyNoTunnel } from "../../../src/vpc/drivers/tunnel.ts";
import { findUnderlay } from "../../../src/vpc/drivers/underlay.ts";
import { TRANSIT_CIDR } from "../../../src/vpc/index.ts";
import type { PeerConfig, paths } from "../config.ts";
import { HostNetworks, transitHost } from "./host-networks.ts";
import { JoinedFolder } from "./joined-folder.ts";
import { OwnTunnel } from "./own-tunnel.ts";

const DNS_PORT = 53;

/** Run by Node by itself, so it lies apart from the peer's bundle: as it is written, or as tsc compiled it. */
const nameServerProgram = fileURLToPath(
  new URL(
    import.meta.url.includes("/dist/") ? "../../src/vpc/drivers/name-server-program.js" : "../../../src/vpc/drivers/name-server-program.ts",
    import.meta.url,
  ),
);

/** This host's networks with their real drivers. */
export async function openNetworks(
  config: PeerConfig,
  files: ReturnType<typeof paths>,
  namespaceOf: (container: ContainerId) => string,
  log: Logger,
): Promise<{ readonly service: HostNetworks; close(): Promise<void> }> {
  await mkdir(files.runJoined, { recursive: true, mode: 0o700 });
  const shells = { overlay: createShellHelper(), firewall: createShellHelper(), look: createShellHelper() };
  const programs = { overlay: createPortProgram(), firewall: createNftProgram() };
  const overlay = await openOverlay({ shell: shells.overlay, program: programs.overlay }, { runDir: config.runDir, transit: TRANSIT_CIDR });
  const firewall = createNftFirewall(
    { logger: log, shell: shells.firewall, program: programs.firewall },
    { host: undefined, vpc: (vpc) => overlay.namespaceOf(vpc), container: (container) => namespaceOf(container) },
  );
  const names = createNameServer({ address: transitHost, port: DNS_PORT, program: nameServerProgram, clock: systemClock, random: systemRandom, log });
  names.nameservers(await hostNameservers());
  const joined = new JoinedFolder(files.runJoined, log);
  const service = new HostNetworks(
    {
      overlay,
      firewall,
      names,
      joined,
      findUnderlay: (neighbours) => findUnderlay(shells.look, neighbours),
      namespaceOf,
      vxlanPort: config.vxlanPort,
      tunnel: await openOwnTunnel(config, files.tunnelKey, shells.look, log),
      listening: listeningPorts,
      clock: systemClock,
      log,
    },
    await joined.load(),
  );
  return {
    service,
    close: async () => {
      await service.stop();
      await Promise.all([...Object.values(shells), ...Object.values(programs)].map((kept) => kept.close()));
    },
  };
}

/** The host's own resolvers, also those on its loopback: the name server asks in the host's name. */
async function hostNameservers(): Promise<readonly string[]> {
  try {
    const lines = (await readFile("/etc/resolv.conf", "utf8")).split("\n");
    return lines.flatMap((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
  } catch {
    return []; // A host without the file resolves nothing itself.
  }
}

async function openOwnTunnel({ encryption, wireguardPort: port }: PeerConfig, keyFile: string, shell: ShellHelper, log: Logger): Promise<OwnTunnel> {
  const reason = await whyNoTunnel(shell);
  if (reason !== undefined && encryption === "required")
    log.warn({ reason }, "encryption is required and this host cannot have it: its containers reach no other host's");
  if (reason !== undefined && encryption === "auto") log.info({ reason }, "what containers of this host and others say to each other is not encrypted");
  // Also where it is off: what an earlier start has made is taken down.
  const driver = reason === undefined ? await openTunnel(shell, keyFile) : undefined;
  return new OwnTunnel({ driver, encryption, port, log });
}
