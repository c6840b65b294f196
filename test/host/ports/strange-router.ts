import { randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer } from "node:http";

// A router as some are and the real daemon cannot be made to be. `permanent`: knows no leases (725). `same`: maps a port to the same one only
// (724). `liar`: agrees and maps to somebody else. `rubbish`: answers everything, with nothing that means anything.
const [mode = "", address = ""] = process.argv.slice(2);
const HTTP_PORT = 5_555;
const entries = new Map<string, { readonly client: string; readonly port: string }>();
let answers = 0;

const rubbish = (): Buffer => {
  answers += 1;
  const xml = ["<", "<a>".repeat(500), '<!DOCTYPE x [<!ENTITY a "b">]><a>&a;</a>', "<s:Envelope><s:Body><s:Fault/></s:Body></s:Envelope>", "x".repeat(400_000)];
  return answers % 2 === 0 ? Buffer.from(xml[(answers / 2) % xml.length] ?? "") : randomBytes(answers % 1_400);
};
const envelope = (inner: string): string =>
  `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>${inner}</s:Body></s:Envelope>`;
const fault = (code: number): string =>
  envelope(
    `<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError><errorCode>${code}</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault>`,
  );

function answer(action: string, body: string): string {
  const arg = (name: string): string => new RegExp(`<New${name}>([^<]*)<`).exec(body)?.[1] ?? "";
  const done = (values: string): string =>
    envelope(`<u:${action}Response xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">${values}</u:${action}Response>`);
  const key = `${arg("ExternalPort")}/${arg("Protocol")}`;
  const entry = entries.get(key);
  switch (action) {
    case "GetExternalIPAddress":
      return done("<NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>");
    case "AddPortMapping":
      if (mode === "permanent" && arg("LeaseDuration") !== "0") return fault(725);
      if (mode === "same" && arg("ExternalPort") !== arg("InternalPort")) return fault(724);
      entries.set(key, { client: mode === "liar" ? "10.232.7.99" : arg("InternalClient"), port: arg("InternalPort") });
      return done("");
    case "GetSpecificPortMappingEntry":
      if (entry === undefined) return fault(714);
      return done(
        `<NewInternalPort>${entry.port}</NewInternalPort><NewInternalClient>${entry.client}</NewInternalClient><NewLeaseDuration>0</NewLeaseDuration>`,
      );
    case "DeletePortMapping":
      return entries.delete(key) ? done("") : fault(714);
    default:
      return fault(401);
  }
}

createServer((incoming, outgoing) => {
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => {
    if (mode === "rubbish" && (incoming.method === "POST" || answers % 5 === 0))
      return void outgoing.writeHead([200, 500, 404][answers % 3] ?? 200).end(rubbish());
    if (incoming.method === "GET") {
      const service = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/ctl</controlURL></service>";
      return void outgoing.end(`<root><device><friendlyName>strange</friendlyName><serviceList>${service}</serviceList></device></root>`);
    }
    const action = /#(\w+)/.exec(String(incoming.headers["soapaction"]))?.[1] ?? "";
    const said = answer(action, Buffer.concat(chunks).toString("utf8"));
    outgoing.writeHead(said.includes("Fault") ? 500 : 200).end(said);
    console.log(JSON.stringify([...entries.keys()]));
  });
}).listen(HTTP_PORT, address);

const ssdp = createSocket({ type: "udp4", reuseAddr: true });
ssdp.on("message", (message, from) => {
  const target = /^ST: (.*)$/m.exec(message.toString("latin1"))?.[1] ?? "";
  if (mode === "rubbish") ssdp.send(rubbish(), from.port, from.address);
  ssdp.send(`HTTP/1.1 200 OK\r\nST: ${target}\r\nLOCATION: http://${address}:${HTTP_PORT}/desc.xml\r\n\r\n`, from.port, from.address);
});
ssdp.bind(1_900);

if (mode === "rubbish") {
  const pcp = createSocket("udp4");
  pcp.on("message", (message, from) => {
    // What was asked, with one thing wrong; and anything at all.
    const wrong = Buffer.from(message);
    wrong[1] = (wrong[1] ?? 0) | 0x80;
    wrong[answers % 60] = answers % 256;
    for (const packet of [wrong.subarray(0, answers % 61), rubbish().subarray(0, 1_400), Buffer.from([0, 128, 0])]) pcp.send(packet, from.port, from.address);
  });
  pcp.bind(5_351, address);
}
console.log("ready");
