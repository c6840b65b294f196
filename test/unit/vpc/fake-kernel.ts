import type { VpcId } from "../../../src/base/index.ts";
import { BRIDGE_OPTIONS, type LinkModel, PAIRED, type VpcModel, vxlanPlace } from "../../../src/vpc/overlay-model.ts";
import { BRIDGE, TUNNEL_VXLAN, transitName, UPLINK, VXLAN } from "../../../src/vpc/overlay-names.ts";
import type { Batch, Plan } from "../../../src/vpc/overlay-plan.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Link = Mutable<LinkModel>;

/**
 * What `ip` and `bridge` do to one VPC of a host, as far as the overlay uses them. A line that the kernel would refuse throws: plans have none.
 * Read as text, so that it says the same as the kernel only if the text does.
 */
export class FakeKernel {
  readonly vpc: VpcId;
  isPinned = false;
  readonly inside = new Map<string, Link>();
  readonly outside = new Map<string, Link>();
  readonly addresses = new Map<string, string[]>();
  readonly outsideAddresses = new Map<string, string[]>();
  readonly sysctls = new Map<string, string>();
  readonly outsideSysctls = new Map<string, string>();
  routes: string[] = [];
  readonly neighbours = new Map<string, string>();
  readonly bridgeFdb = new Map<string, string>();
  readonly vxlanFdb = new Map<string, string>();
  readonly tunnelFdb = new Map<string, string>();

  constructor(vpc: VpcId) {
    this.vpc = vpc;
  }

  apply(plan: Plan, afterLine: () => void = () => undefined): void {
    for (const batch of plan) {
      if (batch.tool === "pin") this.isPinned = true;
      if (batch.tool === "unpin") this.#clear();
      if (batch.at === "vpc" && batch.tool !== "unpin" && !this.isPinned) throw new Error("there is no namespace");
      for (const line of batch.lines) {
        this.#line(batch, line);
        afterLine();
      }
    }
  }

  model(): VpcModel {
    const { routes, neighbours, bridgeFdb, vxlanFdb, tunnelFdb } = this;
    return structuredClone({
      inside: { links: this.inside, addresses: withoutEmpty(this.addresses), sysctls: this.sysctls },
      outside: { links: this.outside, addresses: withoutEmpty(this.outsideAddresses), sysctls: this.outsideSysctls },
      routes,
      neighbours,
      bridgeFdb,
      vxlanFdb,
      tunnelFdb,
    });
  }

  #line({ at, tool }: Batch, line: string): void {
    const words = line.split(" ");
    if (tool === "sysctl" || tool === "pin") {
      const [path = "", value = ""] = words;
      (at === "vpc" ? this.sysctls : this.outsideSysctls).set(path, value);
    } else if (tool === "bridge") this.#fdb(words);
    else if (at === "host") this.#host(words);
    else this.#ip(line, words);
  }

  #host(words: readonly string[]): void {
    const [object, verb, name = ""] = words;
    if (object === "addr") return changeAddresses(this.outsideAddresses, words);
    if (object !== "link") throw new Error(words.join(" "));
    if (verb === "set") return setLink(present(this.outside, name), words.slice(3));
    if (verb === "del") {
      const link = present(this.outside, name);
      this.outside.delete(name);
      this.outsideAddresses.delete(name);
      this.outsideSysctls.clear();
      if (link.place === PAIRED) this.dropInside(UPLINK);
      return;
    }
    if (!this.isPinned) throw new Error("there is no namespace to put it in");
    if (words[3] === "netns") {
      const born = words.slice(words.indexOf("vxlan") + 1);
      const local = after(born, "local");
      this.#add(this.inside, name, {
        ...made("vxlan", words),
        fixed: born.slice(0, 5).join(" "),
        place: vxlanPlace(local?.includes(":") === true ? 6 : 4, true),
        options: { local: local ?? "0.0.0.0" },
        mac: "02:ff:ff:ff:ff:ff",
      });
      return;
    }
    const peerAt = words.indexOf("peer");
    this.#add(this.outside, name, { ...made("veth", words.slice(0, peerAt)), place: PAIRED });
    this.#add(this.inside, after(words, "name") ?? "", { ...made("veth", words.slice(peerAt)), place: PAIRED });
    this.outsideSysctls.set(`ipv4/conf/${name}/route_localnet`, "0").set(`ipv6/conf/${name}/disable_ipv6`, "0");
  }

  #ip(line: string, words: readonly string[]): void {
    const [object, verb, name = ""] = words;
    const rest = line.slice(`${object} ${verb} `.length);
    if (object === "link" && verb === "add") this.#add(this.inside, name, { ...made("bridge", words), options: { ...BRIDGE_OPTIONS } });
    else if (object === "link" && verb === "del") {
      const link = present(this.inside, name);
      this.dropInside(name);
      if (name === UPLINK && link.place === PAIRED) this.#dropTransit();
    } else if (object === "link") {
      const link = present(this.inside, name);
      const had = link.master;
      setLink(link, words.slice(3));
      if (link.master !== had) this.dropPort(name);
    } else if (object === "addr") {
      present(this.inside, after(words, "dev") ?? "");
      changeAddresses(this.addresses, words);
      if (verb === "del") this.#dropRoutesOf(after(words, "dev") ?? "", words[2] ?? "");
    } else if (object === "route") {
      if (verb === "del" && !this.routes.includes(rest)) throw new Error(`there is no route ${rest}`);
      this.routes = this.routes.filter((route) => route !== rest);
      if (verb === "replace") {
        present(this.inside, after(words, "dev") ?? "");
        this.routes.push(rest);
      }
    } else if (object === "neigh") {
      present(this.inside, BRIDGE);
      if (verb === "replace") this.neighbours.set(name, after(words, "lladdr") ?? "");
      else if (!this.neighbours.delete(name)) throw new Error(`there is no neighbour ${name}`);
    } else throw new Error(line);
  }

  #fdb(words: readonly string[]): void {
    const [, verb, mac = "", , device = ""] = words;
    const link = present(this.inside, device);
    const far = device === VXLAN ? this.vxlanFdb : device === TUNNEL_VXLAN ? this.tunnelFdb : undefined;
    const isSelf = words.includes("self") && far !== undefined;
    const table = words.includes("self") ? (far ?? this.bridgeFdb) : this.bridgeFdb;
    if (!isSelf && device !== BRIDGE && link.master !== BRIDGE) throw new Error(`${device} is no port of the bridge`);
    if (verb === "del") {
      const found = table.get(mac);
      if (found === undefined || (!isSelf && found.split(" ")[0] !== device)) throw new Error(`there is no entry ${mac} of ${device}`);
      table.delete(mac);
    } else {
      // What is no ordinary entry stays what it is.
      if (table.get(mac)?.includes(" ") === true) throw new Error(`${mac} is another kind of entry`);
      table.set(mac, isSelf ? (after(words, "dst") ?? "") : device);
    }
  }

  #add(side: Map<string, Link>, name: string, link: Link): void {
    if (side.has(name)) throw new Error(`${name} is there`);
    side.set(name, link);
  }

  dropInside(name: string): void {
    this.inside.delete(name);
    this.addresses.delete(name);
    this.routes = this.routes.filter((route) => !`${route} `.includes(` dev ${name} `));
    this.dropPort(name);
    if (name === VXLAN) this.vxlanFdb.clear();
    if (name === TUNNEL_VXLAN) this.tunnelFdb.clear();
    if (name !== BRIDGE) return;
    this.neighbours.clear();
    this.bridgeFdb.clear();
    for (const link of this.inside.values()) {
      if (link.master === BRIDGE) Object.assign(link, { master: undefined, flags: {} });
    }
  }

  dropPort(name: string): void {
    for (const [mac, port] of this.bridgeFdb) if (port.split(" ")[0] === name) this.bridgeFdb.delete(mac);
  }

  #dropTransit(): void {
    this.outside.delete(transitName(this.vpc));
    this.outsideAddresses.clear();
    this.outsideSysctls.clear();
  }

  #dropRoutesOf(device: string, address: string): void {
    const local = address.split("/")[0];
    const isLast = (this.addresses.get(device) ?? []).length === 0;
    this.routes = this.routes.filter((route) => !`${route} `.includes(` dev ${device} `) || !(isLast || route.endsWith(` src ${local}`)));
  }

  #clear(): void {
    this.isPinned = false;
    if (this.inside.get(UPLINK)?.place === PAIRED) this.#dropTransit();
    for (const name of [...this.inside.keys()]) this.dropInside(name);
    this.sysctls.clear();
  }
}

function withoutEmpty(addresses: ReadonlyMap<string, string[]>): Map<string, string[]> {
  return new Map([...addresses].filter(([, list]) => list.length > 0));
}

function present(side: ReadonlyMap<string, Link>, name: string): Link {
  const link = side.get(name);
  if (link === undefined) throw new Error(`there is no device ${name}`);
  return link;
}

const after = (words: readonly string[], word: string): string | undefined => (words.includes(word) ? words[words.indexOf(word) + 1] : undefined);

function made(kind: string, words: readonly string[]): Link {
  const mtu = after(words, "mtu");
  return {
    kind,
    fixed: "",
    place: "",
    options: {},
    mac: after(words, "address"),
    mtu: mtu === undefined ? 1_500 : Number(mtu),
    alias: "",
    master: undefined,
    flags: {},
    up: false,
  };
}

function setLink(link: Link, words: readonly string[]): void {
  const [what, value = ""] = words;
  if (what === "up") link.up = true;
  else if (what === "nomaster") Object.assign(link, { master: undefined, flags: {} });
  else if (what === "master") Object.assign(link, { master: value, flags: { learning: true, flood: true } });
  else if (what === "mtu") link.mtu = Number(value);
  else if (what === "address") link.mac = value;
  else if (what === "alias") link.alias = value === '""' ? "" : value;
  else if (what === "type" && value === "bridge_slave") link.flags = Object.fromEntries(pairs(words.slice(2)).map(([flag, is]) => [flag, is === "on"]));
  else if (what === "type") link.options = Object.fromEntries(pairs(words.slice(2)));
  else throw new Error(words.join(" "));
}

const pairs = (words: readonly string[]): [string, string][] =>
  words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1] ?? ""] satisfies [string, string]] : []));

/** Of one subnet the kernel drops the later ones with the first. */
function changeAddresses(table: Map<string, string[]>, words: readonly string[]): void {
  const device = after(words, "dev") ?? "";
  const address = words.slice(2, words.indexOf("dev")).join(" ");
  const have = table.get(device) ?? [];
  if (words[1] === "replace") {
    table.set(device, have.includes(address) ? have : [...have, address]);
    return;
  }
  const at = have.indexOf(address);
  if (at < 0) throw new Error(`${device} has no address ${address}`);
  const bits = address.split("/").at(-1);
  table.set(
    device,
    have.filter((other, otherAt) => otherAt < at || other.split("/").at(-1) !== bits),
  );
}
