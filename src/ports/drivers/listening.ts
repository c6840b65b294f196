import { readFileSync } from "node:fs";
import { formatIp, parseIp } from "../../base/index.ts";
import type { HostPort } from "../host-ports.ts";
import type { PortProtocol } from "../published-port.ts";

/** Of TCP; UDP has no such state, there every bound socket counts. */
const LISTEN = "0A";
const FILES: readonly (readonly [string, PortProtocol])[] = [
  ["tcp", "tcp"],
  ["tcp6", "tcp"],
  ["udp", "udp"],
  ["udp6", "udp"],
];

/** Ports that programs of this network namespace listen on, by IPv4: read at this moment, from the kernel's own tables. */
export function listeningPorts(): readonly HostPort[] {
  return FILES.flatMap(([file, protocol]) => {
    try {
      return parseSockets(readFileSync(`/proc/self/net/${file}`, "utf8"), protocol);
    } catch {
      return []; // A host without IPv6 lacks two of them.
    }
  });
}

/** Lines of /proc/net/tcp and the like: `sl local_address rem_address st ...`, addresses in the host's byte order. */
function parseSockets(text: string, protocol: PortProtocol): readonly HostPort[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line): HostPort[] => {
      const [, local = "", remote = "", state] = line.trim().split(/\s+/);
      const [address = "", port = ""] = local.split(":");
      const isOpen = protocol === "tcp" ? state === LISTEN : /:0000$/.test(remote);
      if (!isOpen || port === "") return [];
      // A socket of IPv6's `any` takes IPv4 as well; another address of IPv6 is in nobody's way.
      if (address.length > 8 && !/^0+$/.test(address)) return [];
      const ip = address.length > 8 ? undefined : parseIp([6, 4, 2, 0].map((at) => Number.parseInt(address.slice(at, at + 2), 16)).join("."));
      return [{ hostAddress: ip === undefined || formatIp(ip) === "0.0.0.0" ? undefined : ip, hostPort: Number.parseInt(port, 16), protocol }];
    });
}
