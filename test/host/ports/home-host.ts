import { createInterface } from "node:readline";
import { formatIp, type Logger, parseIp } from "../../../src/base/index.ts";
import { createShellHelper, systemClock, systemRandom } from "../../../src/host/index.ts";
import { createRouteFinder } from "../../../src/ports/drivers/default-route.ts";
import { createMappingFile } from "../../../src/ports/drivers/mapping-file.ts";
import { createPcpDriver } from "../../../src/ports/drivers/pcp/pcp.ts";
import { createUpnpDriver } from "../../../src/ports/drivers/upnp/upnp.ts";
import { createRouterMappings, type RouterForward } from "../../../src/ports/index.ts";

// A host behind a router, in its network namespace: what a peer runs to keep mappings. Told what is wanted by lines of JSON, and says each
// change of status by one.
export type HostSettings = {
  readonly via: readonly ("pcp" | "upnp")[];
  readonly book: string;
  readonly leaseSeconds: number;
  readonly lookEveryMs: number;
  readonly routeEveryMs: number;
  /** Of PCP: how long it waits for a router that says nothing. */
  readonly pcpLimitMs?: number;
};
export type HostLine = { readonly status: unknown; readonly router: unknown } | { readonly log: string; readonly level: string };

const settings: HostSettings = JSON.parse(process.argv[2] ?? "");
const say = (line: HostLine): void => console.log(JSON.stringify(line, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)));
const logAs =
  (level: string) =>
  (_fields: object, message: string): void =>
    say({ log: message, level });
const logger: Logger = { debug: logAs("debug"), info: logAs("info"), warn: logAs("warn"), error: logAs("error"), child: () => logger };
const shell = createShellHelper();
const deps = { clock: systemClock, random: systemRandom, secret: new Uint8Array(32).fill(7) };
const drivers = settings.via.map((via) => {
  return via === "pcp" ? createPcpDriver(deps, settings.pcpLimitMs === undefined ? {} : { limitMs: settings.pcpLimitMs }) : createUpnpDriver(deps);
});
const mappings = createRouterMappings(
  { drivers, routes: createRouteFinder(shell), book: createMappingFile(settings.book, logger), clock: systemClock, logger, changed: () => tell() },
  settings,
);
function tell(): void {
  const { route, via } = mappings.router();
  const status = mappings.status().map((one) => (one.state === "mapped" ? { ...one, externalAddress: formatIp(one.externalAddress) } : one));
  say({ status, router: { gateway: route && formatIp(route.gateway), local: route && formatIp(route.local), via } });
}

mappings.start();
for await (const line of createInterface({ input: process.stdin })) {
  const wanted: (Omit<RouterForward, "hostAddress"> & { readonly hostAddress?: string })[] = JSON.parse(line);
  mappings.want(
    wanted.map(({ hostAddress, ...forward }) => {
      const ip = hostAddress === undefined ? undefined : parseIp(hostAddress);
      return ip === undefined ? forward : { ...forward, hostAddress: ip };
    }),
  );
}
await mappings.stop();
await shell.close();
