import { type Clock, formatIp, type Ip, parseIp, type Random } from "../../../base/index.ts";
import {
  answered,
  type MapGrant,
  type MappingAtRouter,
  type MapRequest,
  type RouterAnswer,
  type RouterDriver,
  type RouterLook,
  type RouterRoute,
  type RouterSession,
  type RouterTrouble,
  troubled,
} from "../../router-driver.ts";
import { servicesIn, type WanService } from "./description.ts";
import { callRouter } from "./http.ts";
import { readSoapReply, soapAction, soapBody } from "./soap.ts";
import { searchRouter } from "./ssdp.ts";

export type UpnpDeps = { readonly clock: Clock; readonly random: Random };

/** `searchMs`: how long a router has to show itself. `callMs`: to answer one call; small ones take a second when they are at work. */
export type UpnpSettings = { readonly searchMs: number; readonly searchAgainMs: number; readonly callMs: number };

const DEFAULTS: UpnpSettings = { searchMs: 4_000, searchAgainMs: 1_200, callMs: 5_000 };

const INVALID_ACTION = 401;
const NO_SUCH_ENTRY = [713, 714];
const CONFLICT = 718;
const SAME_PORTS_REQUIRED = 724;
const ONLY_PERMANENT_LEASES = 725;
/** Of the errors that UPnP names (WANIPConnection 2.5), those that say more than their own text. */
const ERRORS: Readonly<Record<number, string>> = {
  402: "the router did not understand the request",
  501: "the router could not do it, perhaps because it has no working connection to the outside",
  606: "the router does not allow it (not authorised): look in its settings for UPnP",
  [SAME_PORTS_REQUIRED]: "this router maps a port to the same one only",
  728: "the router has no room for another mapping",
  729: "another mechanism of the router has the external port",
};
/** Where the wanted port is taken, so many are tried, of those that hosts choose from for their own. */
const OTHER_PORTS = 4;
const OTHER_FIRST = 20_000;
const OTHER_COUNT = 12_768;
const DESCRIPTION_CHARACTERS_MAX = 64;

type Values = ReadonlyMap<string, string>;
type Called = RouterAnswer<Values> & { readonly code?: number };

export function createUpnpDriver(deps: UpnpDeps, settings: Partial<UpnpSettings> = {}): RouterDriver {
  const all = { ...DEFAULTS, ...settings };
  return {
    via: "upnp",
    async find(route, signal) {
      const gateway = formatIp(route.gateway);
      if (route.gateway.family !== 4) return troubled({ kind: "cannot", reason: "only IPv4 ports are mapped" });
      const location = await searchRouter({ clock: deps.clock, limitMs: all.searchMs, repeatMs: all.searchAgainMs }, route, signal);
      if (location === undefined) return troubled({ kind: "silent", reason: `${gateway} does not show itself; is UPnP switched off in its settings?` });
      const reply = await callRouter(deps.clock, all.callMs, route, { url: location, method: "GET" }, signal);
      if (reply.kind === "failed") return troubled({ kind: "silent", reason: `the description of ${gateway} cannot be read: ${reply.reason}` });
      const services = servicesIn(reply.body, location);
      if (services.length === 0) return troubled({ kind: "cannot", reason: `${gateway} describes no service that makes port mappings` });
      return answered(await chooseService(deps, all, route, services, signal));
    },
  };
}

/** Of several connections to the outside the one that has an address there; where none has, the first: it may get one. */
async function chooseService(
  deps: UpnpDeps,
  settings: UpnpSettings,
  route: RouterRoute,
  services: readonly WanService[],
  signal: AbortSignal,
): Promise<RouterSession> {
  const sessions = services.map((service) => new UpnpSession(deps, settings, route, service));
  for (const session of sessions.length > 1 ? sessions : []) if ((await session.externalAddress(signal)) !== undefined) return session;
  const [first] = sessions;
  if (first === undefined) throw new RangeError("a router without services is no router");
  return first;
}

class UpnpSession implements RouterSession {
  readonly #deps: UpnpDeps;
  readonly #settings: UpnpSettings;
  readonly #route: RouterRoute;
  readonly #service: WanService;
  /** Learnt from its first refusal of a lease. */
  #permanentOnly = false;

  constructor(deps: UpnpDeps, settings: UpnpSettings, route: RouterRoute, service: WanService) {
    this.#deps = deps;
    this.#settings = settings;
    this.#route = route;
    this.#service = service;
  }

  async map(request: MapRequest, signal: AbortSignal): Promise<RouterAnswer<MapGrant>> {
    const first = await this.#add(request, request.externalPort, signal);
    if (first.ok) return this.#grant(request, request.externalPort, undefined, signal);
    if (first.code !== CONFLICT && first.code !== SAME_PORTS_REQUIRED) return first;
    const because = first.trouble.reason;
    let last: Called = first;
    for (const port of first.code === CONFLICT ? this.#otherPorts() : [request.internalPort]) {
      last = await this.#add(request, port, signal);
      if (last.ok) return this.#grant(request, port, because, signal);
      if (last.code !== CONFLICT) break;
    }
    return { ...last, trouble: { ...last.trouble, reason: `${because}; of another port: ${last.trouble.reason}` } };
  }

  async unmap(mapping: MappingAtRouter, signal: AbortSignal): Promise<RouterAnswer<undefined>> {
    const entry = await this.#entry(mapping, signal);
    if (!entry.ok && entry.trouble.kind === "silent") return entry;
    // Of somebody else by now, whom many a router would let us remove.
    const gone = entry.ok ? !this.#isOurs(entry.value, mapping) : NO_SUCH_ENTRY.includes(entry.code ?? 0);
    if (gone) return answered(undefined);
    const { externalPort, protocol } = mapping;
    const removed = await this.#call(
      "DeletePortMapping",
      [
        ["NewRemoteHost", ""],
        ["NewExternalPort", externalPort],
        ["NewProtocol", protocol.toUpperCase()],
      ],
      signal,
    );
    return removed.ok || NO_SUCH_ENTRY.includes(removed.code ?? 0) ? answered(undefined) : removed;
  }

  async look(mapping: MappingAtRouter, signal: AbortSignal): Promise<RouterAnswer<RouterLook>> {
    const entry = await this.#entry(mapping, signal);
    if (!entry.ok && entry.trouble.kind === "silent") return entry;
    // A router that answers something else does not say that it is gone.
    const kept = entry.ok ? this.#isOurs(entry.value, mapping) : !NO_SUCH_ENTRY.includes(entry.code ?? 0);
    return answered({ kept, externalAddress: await this.externalAddress(signal) });
  }

  async externalAddress(signal: AbortSignal): Promise<Ip | undefined> {
    const answer = await this.#call("GetExternalIPAddress", [], signal);
    const ip = answer.ok ? parseIp(answer.value.get("NewExternalIPAddress") ?? "") : undefined;
    return ip?.family === 4 && ip.value !== 0n ? ip : undefined;
  }

  /** What was agreed to, as the router shows it: some turn a lease into none, and some agree to what they do not do. */
  async #grant(request: MapRequest, externalPort: number, because: string | undefined, signal: AbortSignal): Promise<RouterAnswer<MapGrant>> {
    const mapping = { ...request, externalPort };
    const entry = await this.#entry(mapping, signal);
    if (entry.ok && !this.#isOurs(entry.value, mapping)) {
      return troubled({ kind: "refused", reason: `the router agreed to map port ${externalPort}, but maps it to ${clientOf(entry.value)}` });
    }
    const externalAddress = await this.externalAddress(signal);
    if (externalAddress === undefined) return troubled({ kind: "refused", reason: "the router has no address to the outside" });
    const shown = entry.ok ? Number(entry.value.get("NewLeaseDuration") ?? Number.NaN) : Number.NaN;
    const permanent = this.#permanentOnly || shown === 0;
    return answered({ externalAddress, externalPort, leaseSeconds: permanent ? 0 : request.leaseSeconds, because });
  }

  #otherPorts(): number[] {
    return Array.from({ length: OTHER_PORTS }, () => OTHER_FIRST + this.#deps.random.below(OTHER_COUNT));
  }

  /**
   * Makes the mapping, or renews it. A new one is looked for first: routers let a host overwrite its own mappings, and some
   * everybody's.
   */
  async #add(request: MapRequest, externalPort: number, signal: AbortSignal): Promise<Called> {
    const entry = request.renewal ? undefined : await this.#entry({ ...request, externalPort }, signal);
    if (entry?.ok === false && entry.trouble.kind === "silent") return entry;
    if (entry?.ok === true && !this.#isOurs(entry.value, request)) return conflict(externalPort, ` (to ${clientOf(entry.value)})`);
    let added = await this.#call("AddPortMapping", this.#argsFor(request, externalPort), signal);
    if (!added.ok && added.code === ONLY_PERMANENT_LEASES && !this.#permanentOnly) {
      this.#permanentOnly = true;
      added = await this.#call("AddPortMapping", this.#argsFor(request, externalPort), signal);
    }
    return !added.ok && added.code === CONFLICT ? conflict(externalPort, "") : added;
  }

  #argsFor({ protocol, internalPort, leaseSeconds, description }: MapRequest, externalPort: number): (readonly [string, string | number])[] {
    return [
      ["NewRemoteHost", ""],
      ["NewExternalPort", externalPort],
      ["NewProtocol", protocol.toUpperCase()],
      ["NewInternalPort", internalPort],
      ["NewInternalClient", formatIp(this.#route.local)],
      ["NewEnabled", 1],
      ["NewPortMappingDescription", description.replaceAll(/[^ -~]/g, "?").slice(0, DESCRIPTION_CHARACTERS_MAX)],
      ["NewLeaseDuration", this.#permanentOnly ? 0 : leaseSeconds],
    ];
  }

  #entry({ externalPort, protocol }: Pick<MappingAtRouter, "externalPort" | "protocol">, signal: AbortSignal): Promise<Called> {
    return this.#call(
      "GetSpecificPortMappingEntry",
      [
        ["NewRemoteHost", ""],
        ["NewExternalPort", externalPort],
        ["NewProtocol", protocol.toUpperCase()],
      ],
      signal,
    );
  }

  #isOurs(entry: Values, { internalPort }: Pick<MappingAtRouter, "internalPort">): boolean {
    return entry.get("NewInternalClient") === formatIp(this.#route.local) && entry.get("NewInternalPort") === String(internalPort);
  }

  async #call(action: string, args: readonly (readonly [string, string | number])[], signal: AbortSignal): Promise<Called> {
    const call = { service: this.#service.type, action, args };
    const headers = { "content-type": 'text/xml; charset="utf-8"', soapaction: soapAction(call) };
    const { clock } = this.#deps;
    const reply = await callRouter(
      clock,
      this.#settings.callMs,
      this.#route,
      { url: this.#service.control, method: "POST", headers, body: soapBody(call) },
      signal,
    );
    if (reply.kind === "failed") return troubled({ kind: "silent", reason: `${formatIp(this.#route.gateway)}: ${reply.reason}` });
    const answer = readSoapReply(reply.body, call);
    if (answer.kind === "done") return answered(answer.values);
    if (answer.kind === "rubbish")
      return troubled({ kind: "cannot", reason: `${formatIp(this.#route.gateway)} answers ${action} with something that is no UPnP (HTTP ${reply.status})` });
    const kind: RouterTrouble["kind"] = answer.code === INVALID_ACTION ? "cannot" : "refused";
    const known = ERRORS[answer.code] ?? "the router refused";
    return { ...troubled({ kind, reason: `${known} (${answer.code} ${answer.description})` }), code: answer.code };
  }
}

const clientOf = (entry: Values): string => `${entry.get("NewInternalClient")?.slice(0, 40)}:${entry.get("NewInternalPort")?.slice(0, 5)}`;

const conflict = (port: number, whose: string): ReturnType<typeof troubled> & { readonly code: number } => {
  return { ...troubled({ kind: "refused", reason: `another mapping has port ${port} of the router${whose}` }), code: CONFLICT };
};
