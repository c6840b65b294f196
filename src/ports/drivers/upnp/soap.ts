import { childOf, escapeXml, parseXml, textOf } from "./xml.ts";

/** One call of a UPnP service: arguments in the order in which the service lists them, which some routers insist on. */
export type SoapCall = { readonly service: string; readonly action: string; readonly args: readonly (readonly [name: string, value: string | number])[] };

export type SoapReply =
  | { readonly kind: "done"; readonly values: ReadonlyMap<string, string> }
  | { readonly kind: "fault"; readonly code: number; readonly description: string }
  /** Neither: not what a UPnP service says. */
  | { readonly kind: "rubbish" };

export function soapBody({ service, action, args }: SoapCall): string {
  const words = args.map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`).join("");
  return `<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:${action} xmlns:u="${service}">${words}</u:${action}></s:Body></s:Envelope>
`;
}

export const soapAction = ({ service, action }: SoapCall): string => `"${service}#${action}"`;

export function readSoapReply(body: string, { action }: SoapCall): SoapReply {
  const content = childOf(parseXml(body), "Body");
  const response = childOf(content, `${action}Response`);
  if (response !== undefined) return { kind: "done", values: new Map(response.children.map(({ name, text }) => [name, text.trim()])) };
  const error = childOf(content, "Fault", "detail", "UPnPError");
  const code = textOf(error, "errorCode") ?? "";
  if (!/^\d{3}$/.test(code)) return { kind: "rubbish" };
  return { kind: "fault", code: Number(code), description: (textOf(error, "errorDescription") ?? "").slice(0, 120) };
}
