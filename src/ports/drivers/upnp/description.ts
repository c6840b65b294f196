import { addressAt } from "./ssdp.ts";
import { childOf, parseXml, textOf, type XmlElement } from "./xml.ts";

/** A service of a router that makes port mappings, and where it is called. */
export type WanService = { readonly type: string; readonly control: URL };

/** Best first. PPP is how the routers of some providers connect. */
const TYPES = [
  "urn:schemas-upnp-org:service:WANIPConnection:2",
  "urn:schemas-upnp-org:service:WANIPConnection:1",
  "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
const SERVICES_MAX = 8;

/** The services in a router's description (UPnP Device Architecture, 2.3), whatever the devices are in which they stand. */
export function servicesIn(description: string, location: URL): readonly WanService[] {
  const root = parseXml(description);
  const base = addressAt(textOf(root, "URLBase") ?? "", location.hostname) ?? location;
  const services = elementsIn(root).flatMap((element): WanService[] => {
    const type = element.name === "service" ? textOf(element, "serviceType") : undefined;
    const control = addressAt(textOf(element, "controlURL") ?? "", location.hostname, base);
    return type === undefined || !TYPES.includes(type) || control === undefined ? [] : [{ type, control }];
  });
  return services.toSorted((a, b) => TYPES.indexOf(a.type) - TYPES.indexOf(b.type)).slice(0, SERVICES_MAX);
}

/** What the router is called, for logs and reasons. */
export function nameIn(description: string): string | undefined {
  return textOf(childOf(parseXml(description), "device"), "friendlyName")?.slice(0, 80);
}

function elementsIn(element: XmlElement | undefined): readonly XmlElement[] {
  return element === undefined ? [] : [element, ...element.children.flatMap(elementsIn)];
}
