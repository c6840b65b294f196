import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type Clock, deadline, formatIp } from "../../../base/index.ts";
import type { RouterRoute } from "../../router-driver.ts";

/** Finding a router by UPnP: a question to everybody on its network, to which it answers with the address of its description. */
const GROUP = "239.255.255.250";
const PORT = 1_900;
const MESSAGE_BYTES_MAX = 8_192;
/** A router of version 2 answers to both, one of version 1 to its own only. */
const TARGETS = ["urn:schemas-upnp-org:device:InternetGatewayDevice:2", "urn:schemas-upnp-org:device:InternetGatewayDevice:1"];
/** UPnP lets devices wait this long before they answer, so that they do not all speak at once. */
const ANSWER_WITHIN_SECONDS = 1;

export function searchMessage(target: string): string {
  return ["M-SEARCH * HTTP/1.1", `HOST: ${GROUP}:${PORT}`, 'MAN: "ssdp:discover"', `MX: ${ANSWER_WITHIN_SECONDS}`, `ST: ${target}`, "", ""].join("\r\n");
}

/** Where the description of a router lies, by its answer. Undefined: something else, or an address that is not `gateway`'s. */
export function locationIn(message: Uint8Array, gateway: string): URL | undefined {
  if (message.length > MESSAGE_BYTES_MAX) return undefined;
  const [status = "", ...lines] = new TextDecoder().decode(message).split(/\r?\n/);
  if (!/^HTTP\/1\.[01] 200\b/.test(status)) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines) {
    const at = line.indexOf(":");
    if (at > 0) headers.set(line.slice(0, at).trim().toLowerCase(), line.slice(at + 1).trim());
  }
  if (!TARGETS.includes(headers.get("st") ?? "")) return undefined;
  return addressAt(headers.get("location") ?? "", gateway);
}

/**
 * An address at the gateway itself, by plain HTTP, which is all that UPnP has. Anybody on the network can answer a search; what is asked for by
 * these addresses is only what the gateway itself would be asked for.
 */
export function addressAt(text: string, gateway: string, base?: URL): URL | undefined {
  const url = URL.parse(text, base?.href);
  return url?.protocol === "http:" && url.hostname === gateway && url.username === "" ? url : undefined;
}

export type SearchParts = { readonly clock: Clock; readonly limitMs: number; readonly repeatMs: number };

/**
 * Asks the network of the gateway, by our address there, and the gateway itself: where a firewall keeps answers to multicast out, the answer
 * to a packet that was sent to somebody comes through. Undefined: no answer in time.
 */
export async function searchRouter({ clock, limitMs, repeatMs }: SearchParts, route: RouterRoute, signal: AbortSignal): Promise<URL | undefined> {
  signal.throwIfAborted();
  const gateway = formatIp(route.gateway);
  const local = formatIp(route.local);
  const socket = createSocket("udp4");
  const limit = deadline(clock, limitMs, signal);
  let stopSending = (): void => undefined;
  try {
    return await new Promise<URL | undefined>((resolve, reject) => {
      limit.signal.addEventListener("abort", () => (signal.aborted ? reject(signal.reason) : resolve(undefined)), { once: true });
      socket.on("error", () => resolve(undefined)); // Our address is gone, or there is no way to the network: nothing is found.
      socket.on("message", (message, { address }) => {
        const location = address === gateway ? locationIn(message, gateway) : undefined;
        if (location !== undefined) resolve(location);
      });
      socket.bind({ address: local, port: 0, exclusive: true }, () => {
        socket.setMulticastInterface(local);
        socket.setMulticastTTL(2);
        const send = (): void => {
          for (const target of TARGETS) for (const to of [GROUP, gateway]) socket.send(searchMessage(target), PORT, to, () => undefined);
          stopSending = clock.after(repeatMs, send);
        };
        send();
      });
    });
  } finally {
    stopSending();
    limit.dispose();
    socket.removeAllListeners();
    socket.on("error", () => undefined); // What comes between the last word and the closing is of no use to anybody.
    const closed = once(socket, "close");
    socket.close();
    await closed;
  }
}
