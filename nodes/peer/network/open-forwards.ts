import { createHmac } from "node:crypto";
import type { Logger } from "../../../src/base/index.ts";
import { createShellHelper, systemClock, systemRandom } from "../../../src/host/index.ts";
import { createRouteFinder } from "../../../src/ports/drivers/default-route.ts";
import { createMappingFile } from "../../../src/ports/drivers/mapping-file.ts";
import { createPcpDriver } from "../../../src/ports/drivers/pcp/pcp.ts";
import { createUpnpDriver } from "../../../src/ports/drivers/upnp/upnp.ts";
import { createRouterMappings } from "../../../src/ports/index.ts";
import type { PeerConfig, paths } from "../config.ts";
import { RouterForwards } from "./router-forwards.ts";
import { ownForwards } from "./wanted-forwards.ts";

export type OpenForwards = {
  readonly service: RouterForwards;
  /** Where this host is reached through its router, as libp2p multiaddrs and as URLs of its API. */
  addresses(): readonly string[];
  endpoints(): readonly string[];
  close(): Promise<void>;
};

/** What this host asks its router for, with the real drivers. `seed`: the host's own, which lasts as long as its mappings may. */
export function openForwards(config: PeerConfig, files: ReturnType<typeof paths>, seed: Uint8Array, log: Logger): OpenForwards {
  const shell = createShellHelper();
  const deps = { clock: systemClock, random: systemRandom };
  const secret = createHmac("sha256", seed).update("container-cloud pcp 1").digest();
  const service = new RouterForwards({
    mappings: (changed) =>
      createRouterMappings(
        {
          drivers: [createPcpDriver({ ...deps, secret }), createUpnpDriver(deps)],
          routes: createRouteFinder(shell),
          book: createMappingFile(files.routerMappings, log),
          clock: systemClock,
          logger: log,
          changed,
        },
        { leaseSeconds: config.forward.leaseSeconds },
      ),
    own: ownForwards(config),
    clock: systemClock,
    log,
  });
  return {
    service,
    addresses: () => {
      const mesh = service.external("mesh");
      return mesh === undefined ? [] : [`/ip4/${mesh.address}/tcp/${mesh.port}`];
    },
    endpoints: () => {
      const api = service.external("api");
      return api === undefined ? [] : [`https://${api.address}:${api.port}`];
    },
    close: async () => {
      await service.stop();
      await shell.close();
    },
  };
}
