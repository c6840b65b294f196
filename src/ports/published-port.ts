import { formatIp, type Ip, ok, parseIp, type Result, refuse } from "../base/index.ts";
import { findCollision, type HostPort } from "./host-ports.ts";

export type PortProtocol = "tcp" | "udp";

/** What a user writes as `--publish [hostAddress:][hostPort:]port[/tcp|udp]`. */
export type PublishedPort = {
  /** Undefined: on every address of the host. */
  readonly hostAddress: Ip | undefined;
  /** Undefined: the host chooses a free one. */
  readonly hostPort: number | undefined;
  readonly containerPort: number;
  readonly protocol: PortProtocol;
};

/** Of one container. Each is an element of maps that every packet of the host passes, and a line in `cc status`. */
export const PUBLISHED_PORTS_MAX = 128;

const FORM = "[hostAddress:][hostPort:]port[/tcp|udp]";
const PORT = /^[1-9]\d{0,4}$/;
const PORT_MAX = 65_535;
const MULTICAST_FIRST = 224;
const LOOPBACK = 127n;

/** Refusals are BAD_REQUEST with one sentence that names the text. */
export function parsePublishedPort(text: string): Result<PublishedPort> {
  const wrong = (what: string): Result<PublishedPort> => refuse("BAD_REQUEST", `--publish ${JSON.stringify(text.slice(0, 80))}: ${what}`);
  const [before = "", protocolText, more] = text.split("/");
  const protocol = (protocolText ?? "tcp").toLowerCase();
  if (more !== undefined || (protocol !== "tcp" && protocol !== "udp")) return wrong(`a port is published for tcp or udp; the form is ${FORM}`);
  const parts = before.split(":");
  if (before.includes("[") || parts.length > 3) return wrong(`IPv6 addresses cannot be published on yet; the form is ${FORM}`);
  const containerText = parts.pop() ?? "";
  const [first, second] = parts;
  // With one part before the container's port, a dot tells an address from a port.
  const isAddress = second !== undefined || first?.includes(".") === true;
  const hostText = isAddress ? (second ?? "") : (first ?? "");
  if ([containerText, hostText].some((part) => part.includes("-"))) return wrong("ranges of ports cannot be published; give --publish once for each port");
  const address = isAddress ? hostAddressOf(first ?? "") : ok(undefined);
  if (!address.ok) return wrong(address.message);
  for (const part of hostText === "" ? [containerText] : [hostText, containerText]) {
    if (part === "0") return wrong("ports are 1 to 65535; leave the host's port out to have a free one chosen");
    if (!PORT.test(part) || Number(part) > PORT_MAX) return wrong(`"${part}" is no port (1 to 65535); the form is ${FORM}`);
  }
  if (!isAddress && first === "") return wrong(`nothing stands before the colon; the form is ${FORM}`);
  return ok({
    hostAddress: address.value,
    hostPort: hostText === "" ? undefined : Number(hostText),
    containerPort: Number(containerText),
    protocol,
  });
}

/** `0.0.0.0` is every address, which is what leaving it out means. */
function hostAddressOf(text: string): Result<Ip | undefined> {
  const ip = parseIp(text);
  if (ip?.family !== 4) return refuse("BAD_REQUEST", `"${text}" is no IPv4 address of a host; the form is ${FORM}`);
  if (ip.value === 0n) return ok(undefined);
  if (ip.value >> 24n >= MULTICAST_FIRST) return refuse("BAD_REQUEST", `${text} is no address that a host can have`);
  return ok(ip);
}

/** The one text of it; parsed again it gives the same. */
export function formatPublishedPort({ hostAddress, hostPort, containerPort, protocol }: PublishedPort): string {
  const before = [...(hostAddress === undefined ? [] : [formatIp(hostAddress)]), ...(hostPort === undefined ? [] : [String(hostPort)])];
  return `${[...before, containerPort].join(":")}/${protocol}`;
}

/**
 * All of one container, in the order given; `everywhere`: for every host of a zone. Refused is what could not stand: the same twice, two for
 * one host port, an address on every host that only one can have.
 */
export function parsePublishedPorts(texts: readonly string[], everywhere = false): Result<readonly PublishedPort[]> {
  if (texts.length > PUBLISHED_PORTS_MAX) return refuse("BAD_REQUEST", `${texts.length} published ports; a container may have ${PUBLISHED_PORTS_MAX}`);
  const ports: PublishedPort[] = [];
  for (const text of texts) {
    const port = parsePublishedPort(text);
    if (!port.ok) return port;
    const other = ports.find((before) => cannotStandBeside(before, port.value));
    if (other !== undefined) {
      return refuse(
        "BAD_REQUEST",
        `--publish ${formatPublishedPort(port.value)} and ${formatPublishedPort(other)} ask for the same port of the host; keep one`,
      );
    }
    const { hostAddress } = port.value;
    if (everywhere && hostAddress !== undefined && hostAddress.value >> 24n !== LOOPBACK) {
      return refuse("BAD_REQUEST", `--publish ${formatPublishedPort(port.value)}: one host has ${formatIp(hostAddress)}; leave it out with --publish-on all`);
    }
    ports.push(port.value);
  }
  return ok(ports);
}

function cannotStandBeside(a: PublishedPort, b: PublishedPort): boolean {
  if (formatPublishedPort(a) === formatPublishedPort(b)) return true;
  return hasHostPort(a) && hasHostPort(b) && findCollision(a, [b]) !== undefined;
}

function hasHostPort(port: PublishedPort): port is PublishedPort & HostPort {
  return port.hostPort !== undefined;
}
