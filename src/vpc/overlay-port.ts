import { formatIp, isSameIp, type VpcId } from "../base/index.ts";
import { macOf } from "./mac.ts";
import type { VpcNetwork } from "./network.ts";
import { PORT_FLAGS, type VpcModel } from "./overlay-model.ts";
import { BRIDGE, CONTAINER_DEVICE, formatMark, type PortMark, pinOf, portName } from "./overlay-names.ts";
import { flagWords } from "./overlay-plan.ts";

/** Lines for `ip` in the container's namespace, and for `ip` and `bridge` in the VPC's: in this order, each only after all before it. */
export type AttachLines = { readonly container: readonly string[]; readonly vpc: readonly string[]; readonly fdb: readonly string[] };

/** The container's end first: the port's mark, which is set after it, says that it is done. What is missing then can be seen in the VPC. */
export function attachLines(vpc: Pick<VpcNetwork, "id" | "cidr" | "gateway">, mark: PortMark, mtu: number): AttachLines {
  const [port, mac, address] = [portName(mark.container), macOf(vpc.id, mark.address), formatIp(mark.address)];
  const device = CONTAINER_DEVICE;
  return {
    container: [
      `link add ${device} address ${mac} mtu ${mtu} type veth peer name ${port} mtu ${mtu} netns ${pinOf(vpc.id)}`,
      `addr add ${address}/${vpc.cidr.bits} dev ${device}`,
      `link set ${device} up`,
      `route add default via ${formatIp(vpc.gateway)} dev ${device}`,
    ],
    vpc: [
      `link set ${port} alias ${formatMark(mark)}`,
      `link set ${port} master ${BRIDGE}`,
      `link set ${port} type bridge_slave ${flagWords(PORT_FLAGS)}`,
      `neigh replace ${address} lladdr ${mac} dev ${BRIDGE} nud permanent`,
      `link set ${port} up`,
    ],
    fdb: [`fdb replace ${mac} dev ${port} master static`],
  };
}

/** The container's end first: the port's MTU says that both have it. */
export function mtuLines(mark: PortMark, mtu: number): AttachLines {
  return { container: [`link set ${CONTAINER_DEVICE} mtu ${mtu}`], vpc: [`link set ${portName(mark.container)} mtu ${mtu}`], fdb: [] };
}

/** In the VPC's namespace. An address that is another host's by now keeps its neighbour. */
export function detachLines(vpc: VpcId, mark: PortMark, { bridgeFdb }: VpcModel): readonly string[] {
  const port = portName(mark.container);
  const isHere = bridgeFdb.get(macOf(vpc, mark.address)) === port;
  return [...(isHere ? [`neigh del ${formatIp(mark.address)} dev ${BRIDGE}`] : []), `link del ${port}`];
}

export const isSameMark = (a: PortMark, b: PortMark): boolean => a.container === b.container && isSameIp(a.address, b.address) && a.namespace === b.namespace;
