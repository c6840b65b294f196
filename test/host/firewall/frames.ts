/** Ethernet frames byte by byte, as a container that lies would send them. */
type Bytes = readonly number[];

export const BROADCAST = "ff:ff:ff:ff:ff:ff";
const macBytes = (mac: string): Bytes => mac.split(":").map((part) => Number.parseInt(part, 16));
const ipBytes = (address: string): Bytes => address.split(".").map(Number);
const u16 = (value: number): Bytes => [value >> 8, value & 0xff];

export const ethernet = (to: string, from: string, type: number, payload: Bytes): Uint8Array =>
  Uint8Array.from([...macBytes(to), ...macBytes(from), ...u16(type), ...payload, ...new Array<number>(Math.max(0, 46 - payload.length)).fill(0)]);

export function arp(operation: "request" | "reply", sender: { mac: string; ip: string }, target: { mac: string; ip: string }): Bytes {
  return [
    ...[0, 1, 8, 0, 6, 4, 0, operation === "request" ? 1 : 2],
    ...[...macBytes(sender.mac), ...ipBytes(sender.ip), ...macBytes(target.mac), ...ipBytes(target.ip)],
  ];
}

export function udp(from: { ip: string; port: number }, to: { ip: string; port: number }, text = "spoofed\n"): Bytes {
  const data = [...Buffer.from(text)];
  // No checksum of the data: IPv4 allows that.
  return ipv4(17, from.ip, to.ip, [...u16(from.port), ...u16(to.port), ...u16(8 + data.length), 0, 0, ...data]);
}

/** An answer to a ping that nobody sent. */
export const echoReply = (from: string, to: string): Bytes => ipv4(1, from, to, withChecksum([0, 0, 0, 0, 0, 1, 0, 1]));

function ipv4(protocol: number, from: string, to: string, payload: Bytes): Bytes {
  const header = [0x45, 0, ...u16(20 + payload.length), 0, 1, 0, 0, 64, protocol, 0, 0, ...ipBytes(from), ...ipBytes(to)];
  return [...withChecksum(header, 10), ...payload];
}

/** Puts the Internet checksum (RFC 1071) at `at`, where zeros are. */
function withChecksum(bytes: Bytes, at = 2): Bytes {
  let sum = 0;
  for (let word = 0; word < bytes.length; word += 2) sum += ((bytes[word] ?? 0) << 8) | (bytes[word + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return bytes.toSpliced(at, 2, ...u16(~sum & 0xffff));
}

/** ICMPv6 type 134 to all nodes; whoever believed it would send everything to the sender. */
export function routerAdvertisement(): Bytes {
  const advertisement = [134, 0, 0, 0, 64, 0, 7, 8, ...new Array<number>(8).fill(0)];
  const [from, to] = [
    [0xfe, 0x80, ...new Array<number>(13).fill(0), 1],
    [0xff, 2, ...new Array<number>(13).fill(0), 1],
  ];
  return [0x60, 0, 0, 0, 0, advertisement.length, 58, 255, ...(from ?? []), ...(to ?? []), ...advertisement];
}
