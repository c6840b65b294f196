import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { nameIn, servicesIn } from "../../../src/ports/drivers/upnp/description.ts";
import { readSoapReply, type SoapCall, soapAction, soapBody } from "../../../src/ports/drivers/upnp/soap.ts";
import { addressAt, locationIn, searchMessage } from "../../../src/ports/drivers/upnp/ssdp.ts";
import { escapeXml, parseXml, textOf, XML_CHARACTERS_MAX } from "../../../src/ports/drivers/upnp/xml.ts";

const GATEWAY = "192.168.1.1";
const LOCATION = new URL(`http://${GATEWAY}:5000/rootDesc.xml`);
const RUNS = Number(process.env["CC_FUZZ_RUNS"] ?? 2_000);
const service = (type: string, control: string): string =>
  `<service><serviceType>urn:schemas-upnp-org:service:${type}</serviceType><controlURL>${control}</controlURL></service>`;
const description = (inner: string, base = ""): string => `<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0">${base}<device><friendlyName>Box &amp; Co</friendlyName><deviceList><device><deviceList><device><serviceList>${inner}</serviceList></device></deviceList></device></deviceList></device></root>`;

t.test("XML as routers write it", async (t) => {
  const root = parseXml(
    '\ufeff<?xml version="1.0"?><!-- hm --><a:root x=\'1\' y="a>b"><b>one &lt;&#65;&#x42;&nbsp;</b><c/><b><![CDATA[<two>]]></b ></a:root>\n',
  );
  t.equal(root?.name, "root");
  t.same(
    root?.children.map(({ name, text }) => [name, text]),
    [
      ["b", "one <AB&nbsp;"],
      ["c", ""],
      ["b", "<two>"],
    ],
  );
  t.equal(textOf(parseXml("<a><b><c> x </c></b></a>"), "b", "c"), "x");
  t.equal(textOf(parseXml("<a/>"), "b", "c"), undefined);
});

t.test("what is no XML, or more than a router has to say, is nothing", async (t) => {
  for (const text of [
    "",
    "hello",
    "<a>",
    "<a></b>",
    "</a>",
    "<a/><b/>",
    "<a <b/>",
    '<a x="',
    "<!-- ",
    "<![CDATA[",
    "<?",
    "<a>&",
    "< a/>",
    '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
  ])
    t.equal(text === "<a>&" ? undefined : parseXml(text), undefined, text);
  t.equal(parseXml(`<a>${"<b>".repeat(30)}${"</b>".repeat(30)}</a>`), undefined, "too deep");
  t.equal(parseXml(`<a>${"<b/>".repeat(5_001)}</a>`), undefined, "too many");
  t.equal(parseXml(`<a>${"x".repeat(XML_CHARACTERS_MAX)}</a>`), undefined, "too long");
});

t.test("nothing makes the parser throw, or take long", async (t) => {
  const pieces = fc.array(
    fc.constantFrom("<", ">", "</", "/>", "<a", "<b>", "</b>", '"', "'", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "&#", "&amp;", ";", "=", " ", "x", "9"),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        pieces.map((all) => all.join("")),
      ),
      (text) => void parseXml(text),
    ),
    { numRuns: RUNS },
  );
  for (const piece of ["<", '<a "', "<!--", "<![CDATA[", "&#", "<a>", "<a x='"]) {
    const startedMs = performance.now();
    parseXml(piece.repeat(Math.floor(XML_CHARACTERS_MAX / piece.length)));
    t.ok(performance.now() - startedMs < 5_000, `${piece} again and again`);
  }
});

t.test("what is escaped comes back as it was", async (t) => {
  fc.assert(fc.property(fc.string(), (text) => assert.equal(parseXml(`<a>${escapeXml(text)}</a>`)?.text, text)));
  t.pass("for all of them");
});

t.test("a search, and who may answer it", async (t) => {
  t.equal(searchMessage("urn:x").split("\r\n")[0], "M-SEARCH * HTTP/1.1");
  t.ok(searchMessage("urn:x").endsWith("ST: urn:x\r\n\r\n"));
  const answer = (lines: Readonly<Record<string, string>>, status = "HTTP/1.1 200 OK"): Uint8Array => {
    return new TextEncoder().encode([status, ...Object.entries(lines).map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n"));
  };
  const st = "urn:schemas-upnp-org:device:InternetGatewayDevice:1";
  t.equal(locationIn(answer({ ST: st, LoCation: LOCATION.href }), GATEWAY)?.href, LOCATION.href);
  t.equal(locationIn(answer({ ST: st, LOCATION: "http://192.168.1.66/x" }), GATEWAY), undefined, "another machine's description");
  t.equal(locationIn(answer({ ST: st, LOCATION: `https://${GATEWAY}/x` }), GATEWAY), undefined);
  t.equal(locationIn(answer({ ST: st, LOCATION: `http://me@${GATEWAY}/x` }), GATEWAY), undefined);
  t.equal(locationIn(answer({ ST: st }), GATEWAY), undefined);
  t.equal(locationIn(answer({ ST: "urn:schemas-upnp-org:device:Printer:1", LOCATION: LOCATION.href }), GATEWAY), undefined, "a printer");
  t.equal(locationIn(answer({ ST: st, LOCATION: LOCATION.href }, "NOTIFY * HTTP/1.1"), GATEWAY), undefined);
  t.equal(locationIn(answer({ ST: st, LOCATION: LOCATION.href, X: "x".repeat(9_000) }), GATEWAY), undefined);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => locationIn(bytes, GATEWAY) === undefined),
    { numRuns: RUNS },
  );
  t.equal(addressAt("/ctl", GATEWAY, LOCATION)?.href, `http://${GATEWAY}:5000/ctl`);
  t.equal(addressAt("//evil/ctl", GATEWAY, LOCATION), undefined);
});

t.test("the services of a router, best first, wherever they stand, and only at the router itself", async (t) => {
  const found = (inner: string, base?: string) =>
    servicesIn(description(inner, base), LOCATION).map(({ type, control }) => `${type.split(":").slice(-2).join(":")} ${control.href}`);
  t.same(
    found(
      service("WANPPPConnection:1", "/ppp") +
        service("Layer3Forwarding:1", "/l3") +
        service("WANIPConnection:1", "ip") +
        service("WANIPConnection:2", `http://${GATEWAY}:80/two`),
    ),
    [`WANIPConnection:2 http://${GATEWAY}/two`, `WANIPConnection:1 http://${GATEWAY}:5000/ip`, `WANPPPConnection:1 http://${GATEWAY}:5000/ppp`],
  );
  t.same(found(service("WANIPConnection:1", "/ip"), `<URLBase>http://${GATEWAY}:4999/</URLBase>`), [`WANIPConnection:1 http://${GATEWAY}:4999/ip`]);
  t.same(found(service("WANIPConnection:1", "/ip"), "<URLBase>http://192.168.1.66/</URLBase>"), [`WANIPConnection:1 http://${GATEWAY}:5000/ip`]);
  t.same(found(service("WANIPConnection:1", "http://192.168.1.66/ip")), []);
  t.same(servicesIn("no XML", LOCATION), []);
  t.equal(nameIn(description("")), "Box & Co");
});

t.test("calls and replies", async (t) => {
  const call: SoapCall = {
    service: "urn:schemas-upnp-org:service:WANIPConnection:1",
    action: "AddPortMapping",
    args: [
      ["NewRemoteHost", ""],
      ["NewPortMappingDescription", "<web> & co"],
    ],
  };
  const sent = parseXml(soapBody(call));
  t.same(
    sent?.children[0]?.children[0]?.children.map(({ name, text }) => [name, text]),
    [
      ["NewRemoteHost", ""],
      ["NewPortMappingDescription", "<web> & co"],
    ],
  );
  t.equal(soapAction(call), '"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"');
  const body = (inner: string): string => `<SOAP-ENV:Envelope><SOAP-ENV:Body>${inner}</SOAP-ENV:Body></SOAP-ENV:Envelope>`;
  const done = readSoapReply(body("<m:AddPortMappingResponse><NewReservedPort> 81 </NewReservedPort></m:AddPortMappingResponse>"), call);
  t.equal(done.kind === "done" && done.values.get("NewReservedPort"), "81");
  t.same(
    readSoapReply(
      body(
        "<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError><errorCode>718</errorCode><errorDescription>Conflict</errorDescription></UPnPError></detail></s:Fault>",
      ),
      call,
    ),
    {
      kind: "fault",
      code: 718,
      description: "Conflict",
    },
  );
  for (const rubbish of [
    "",
    "<html><body>Login</body></html>",
    body("<OtherResponse/>"),
    body("<Fault><detail><UPnPError><errorCode>many</errorCode></UPnPError></detail></Fault>"),
  ])
    t.same(readSoapReply(rubbish, call), { kind: "rubbish" });
});
