import { addressAt, type Cidr, type ContainerId, formatIp, type Ip, isContainerId, parseIp, sizeOf, type VpcId } from "../base/index.ts";

/** Devices in the network namespace of a VPC. */
export const BRIDGE = "br0";
export const VXLAN = "vx0";
/** To hosts that are reached through the tunnel. */
export const TUNNEL_VXLAN = "vx1";
export const UPLINK = "up0";
/** A container's only device, in its own namespace. */
export const CONTAINER_DEVICE = "eth0";

/** Names of devices have 15 characters at most; these are parts of ids long enough to be one device only. */
const PORT_ID_CHARS = 13;
const TRANSIT_ID_CHARS = 11;

/** The container's port on the bridge of its VPC. */
export const portName = (container: ContainerId): string => `p${container.slice(1, 1 + PORT_ID_CHARS)}`;

/** The end of a VPC's transit in the host's own namespace. */
export const transitName = (vpc: VpcId): string => `cc-${vpc.slice(1, 1 + TRANSIT_ID_CHARS)}`;
export const isTransitName = (name: string): boolean => /^cc-[a-z2-7]{11}$/.test(name);

/** Where the namespace of a VPC is pinned, as a path from the overlay's folder, which is where the batches are run. */
export const pinOf = (vpc: string): string => `${vpc}/net`;

/** The host's address on every transit: its VPCs' way out, and where they ask for names. */
export const hostEndOf = (range: Cidr): Ip => addressAt(range, 1n);

/** The first address of a VPC on this host; the last of the range is its broadcast address. */
const FIRST_TRANSIT = 2n;

/** The lowest address that no VPC of this host has. Undefined: the range is full. */
export function freeTransit(range: Cidr, taken: Pick<ReadonlyMap<string, unknown>, "has">): Ip | undefined {
  for (let offset = FIRST_TRANSIT; offset < sizeOf(range) - 1n; offset += 1n) {
    const address = addressAt(range, offset);
    if (!taken.has(formatIp(address))) return address;
  }
  return undefined;
}

/** Whether a VPC may have it: in the range, and neither its ends nor the host's. */
export function isTransit(range: Cidr, { family, value }: Ip): boolean {
  const offset = value - range.base.value;
  return family === range.base.family && offset >= FIRST_TRANSIT && offset < sizeOf(range) - 1n;
}

/** What a port says of itself (its alias), set when its container's end is done: what has none was cut off on the way. */
export type PortMark = {
  readonly container: ContainerId;
  readonly address: Ip;
  /** Inode number of the container's network namespace: a restarted container has another. */
  readonly namespace: number;
};

export const formatMark = ({ container, address, namespace }: PortMark): string => `${container}/${formatIp(address)}/${namespace}`;

export function parseMark(alias: string): PortMark | undefined {
  const [container = "", addressText = "", namespace = "", ...more] = alias.split("/");
  const address = parseIp(addressText);
  if (!isContainerId(container) || address === undefined || !/^\d+$/.test(namespace) || more.length > 0) return undefined;
  return { container, address, namespace: Number(namespace) };
}
