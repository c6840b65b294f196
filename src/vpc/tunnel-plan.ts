import { formatCidr, formatIp, type Ip, networkAround } from "../base/index.ts";
import { TUNNEL_CIDR, TUNNEL_DEVICE } from "./tunnel.ts";

/** What a host's kernel is to hold of the tunnel. */
export type TunnelWanted = {
  readonly address: Ip;
  readonly mtu: number;
  readonly port: number;
  readonly publicKey: string;
  readonly peers: readonly TunnelPeer[];
};

export type TunnelPeer = {
  readonly publicKey: string;
  /** Underlay address. */
  readonly host: Ip;
  readonly port: number;
  /** The only source that is taken from it, and the only destination that goes to it. */
  readonly address: Ip;
};

/** What the kernel has; undefined: there is no such device, or one of another kind. */
export type TunnelSeen = {
  readonly kind: string;
  readonly isUp: boolean;
  readonly mtu: number;
  /** With their prefix, link-local ones left out. */
  readonly addresses: readonly string[];
  readonly publicKey: string;
  readonly port: number;
  /** By public key: endpoint and allowed addresses, as `wg` writes them. */
  readonly peers: ReadonlyMap<string, SeenPeer>;
};

type SeenPeer = { readonly endpoint: string; readonly allowed: string };

/** For `ip -batch`, for the device's own keys (`sets`: the words after `wg set DEVICE`), in this order. */
export type TunnelPlan = { readonly before: readonly string[]; readonly sets: readonly string[]; readonly after: readonly string[] };

/** Stands in a plan for the file with the private key, which is the driver's. */
export const KEY_FILE = "KEY-FILE";
/** So many of them are named in one command. */
const PEERS_AT_ONCE = 64;
const KIND = "wireguard";

/** The whole tunnel network is the device's: where WireGuard knows nobody of an address, the packet ends there and not at the host's default route. */
const addressText = (address: Ip): string => `${formatIp(address)}/${TUNNEL_CIDR.bits}`;
const endpointOf = ({ host, port }: TunnelPeer): string => `${host.family === 6 ? `[${formatIp(host)}]` : formatIp(host)}:${port}`;
const allowedOf = ({ address }: TunnelPeer): string => formatCidr(networkAround(address, 128));

/** What makes `seen` into `wanted`. Undefined is wanted where nothing needs the tunnel. */
export function planTunnel(seen: TunnelSeen | undefined, wanted: TunnelWanted | undefined): TunnelPlan {
  if (wanted === undefined) return { before: seen === undefined ? [] : [`link del ${TUNNEL_DEVICE}`], sets: [], after: [] };
  const before: string[] = [];
  let have = seen;
  if (have !== undefined && have.kind !== KIND) {
    before.push(`link del ${TUNNEL_DEVICE}`);
    have = undefined;
  }
  if (have === undefined) before.push(`link add ${TUNNEL_DEVICE} mtu ${wanted.mtu} type ${KIND}`);
  else if (have.mtu !== wanted.mtu) before.push(`link set ${TUNNEL_DEVICE} mtu ${wanted.mtu}`);
  const after = addressLines(have?.addresses ?? [], addressText(wanted.address));
  // Last, when it has its keys. An address alone makes no route: the device's coming up does.
  if (have?.isUp !== true) after.push(`link set ${TUNNEL_DEVICE} up`);
  return { before, sets: setLines(have, wanted), after };
}

function addressLines(have: readonly string[], want: string): string[] {
  const strays = have.filter((address) => address !== want).map((address) => `addr del ${address} dev ${TUNNEL_DEVICE}`);
  return have.includes(want) ? strays : [...strays, `addr replace ${want} dev ${TUNNEL_DEVICE} nodad`];
}

function setLines(have: TunnelSeen | undefined, wanted: TunnelWanted): string[] {
  const lines: string[] = [];
  if (have?.publicKey !== wanted.publicKey) lines.push(`private-key ${KEY_FILE}`);
  if (have?.port !== wanted.port) lines.push(`listen-port ${wanted.port}`);
  const known = have?.peers ?? new Map<string, SeenPeer>();
  // Those that go are first: an address belongs to one key, and moves with the last that is given it.
  const peers = counted(wanted);
  const keys = new Set(peers.map(({ publicKey }) => publicKey));
  const changes = [...known.keys()].filter((key) => !keys.has(key)).map((key) => `peer ${key} remove`);
  for (const peer of peers) {
    const [endpoint, allowed] = [endpointOf(peer), allowedOf(peer)];
    const found = known.get(peer.publicKey);
    if (found?.endpoint === endpoint && found.allowed === allowed) continue;
    changes.push(`peer ${peer.publicKey} endpoint ${endpoint} allowed-ips ${allowed}`);
  }
  for (let at = 0; at < changes.length; at += PEERS_AT_ONCE) lines.push(changes.slice(at, at + PEERS_AT_ONCE).join(" "));
  return lines;
}

/** WireGuard knows one peer a key, and never itself: of several that say they have a key the first counts. */
function counted({ publicKey, peers }: TunnelWanted): readonly TunnelPeer[] {
  return peers.filter((peer, at) => peer.publicKey !== publicKey && peers.findIndex((other) => other.publicKey === peer.publicKey) === at);
}

/** After a plan has been applied, without looking. */
export function tunnelAsMade(wanted: TunnelWanted): TunnelSeen {
  return {
    kind: KIND,
    isUp: true,
    mtu: wanted.mtu,
    addresses: [addressText(wanted.address)],
    publicKey: wanted.publicKey,
    port: wanted.port,
    peers: new Map(counted(wanted).map((peer) => [peer.publicKey, { endpoint: endpointOf(peer), allowed: allowedOf(peer) }])),
  };
}

type Row = Readonly<Record<string, unknown>>;

/**
 * Reads what `ip -d -j addr show dev DEVICE` says, and `wg show DEVICE dump` without the private key (its first word). Undefined: there is no such device.
 * Throws SyntaxError for what is no JSON.
 */
export function parseTunnel(addressJson: string, dump: string): TunnelSeen | undefined {
  const rows: unknown = addressJson.trim() === "" ? [] : JSON.parse(addressJson);
  const row = Array.isArray(rows) ? rows.filter(isRow).find(({ ifname }) => ifname === TUNNEL_DEVICE) : undefined;
  if (row === undefined) return undefined;
  const { linkinfo, flags, mtu, addr_info } = row;
  const [own = "", ...peers] = dump.split("\n").filter((line) => line !== "");
  const [publicKey = "", port = ""] = own.split("\t");
  return {
    kind: isRow(linkinfo) ? String(linkinfo["info_kind"] ?? "") : "",
    isUp: Array.isArray(flags) && flags.includes("UP"),
    mtu: Number(mtu),
    addresses: Array.isArray(addr_info) ? addr_info.filter(isRow).flatMap(addressOf) : [],
    publicKey,
    port: Number(port),
    peers: new Map(peers.map(peerOf)),
  };
}

function addressOf({ local, prefixlen, scope }: Row): string[] {
  return scope === "link" ? [] : [`${String(local)}/${String(prefixlen)}`];
}

/** Key, preshared key, endpoint, allowed addresses, and counters. */
function peerOf(line: string): [string, SeenPeer] {
  const [key = "", , endpoint = "", allowed = ""] = line.split("\t");
  return [key, { endpoint, allowed }];
}

const isRow = (value: unknown): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);
