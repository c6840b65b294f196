/** An element: its name without the namespace's prefix, the text in it, and what it contains. Attributes mean nothing to UPnP. */
export type XmlElement = { readonly name: string; readonly text: string; readonly children: readonly XmlElement[] };

type Building = { readonly name: string; text: string; readonly children: Building[] };

export const XML_CHARACTERS_MAX = 262_144;
const ELEMENTS_MAX = 5_000;
const DEPTH_MAX = 24;
/** The alternatives begin differently, so that there is one way to match and nothing to try again: linear for any input. */
const TOKEN = /<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<\?[\s\S]*?\?>|<\/([^\s<>/]+)\s*>|<([A-Za-z_][^\s<>/"']*)((?:[^<>"']|"[^"]*"|'[^']*')*)>|([^<]+)/y;
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * The root element of a document. Undefined for what is none: much is accepted (routers write bad XML), but no document type, so that there
 * are no entities to expand, and nothing beyond the limits.
 */
export function parseXml(source: string): XmlElement | undefined {
  if (source.length > XML_CHARACTERS_MAX) return undefined;
  const top: Building = { name: "", text: "", children: [] };
  const open: Building[] = [top];
  let elements = 0;
  TOKEN.lastIndex = 0;
  const text = source.replace(/^\ufeff/, "");
  while (TOKEN.lastIndex < text.length) {
    const match = TOKEN.exec(text);
    const parent = open.at(-1);
    if (match === null || parent === undefined) return undefined;
    const [, data, closing, opening, attributes = "", characters] = match;
    if (data !== undefined) parent.text += data;
    else if (characters !== undefined) parent.text += unescape(characters);
    else if (closing !== undefined) {
      if (open.length < 2 || parent.name !== localName(closing)) return undefined;
      open.pop();
    } else if (opening !== undefined) {
      elements += 1;
      const element: Building = { name: localName(opening), text: "", children: [] };
      parent.children.push(element);
      if (!attributes.endsWith("/")) open.push(element);
      if (elements > ELEMENTS_MAX || open.length > DEPTH_MAX) return undefined;
    }
  }
  return open.length === 1 && top.children.length === 1 ? top.children[0] : undefined;
}

const localName = (name: string): string => name.slice(name.indexOf(":") + 1);

function unescape(text: string): string {
  return text.replaceAll(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|([a-z]{2,4}));/g, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return ENTITIES[name] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex ?? "", 16) : Number(decimal);
    return code <= 0x10_ffff ? String.fromCodePoint(code) : whole;
  });
}

export function escapeXml(text: string): string {
  return text.replaceAll(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The first child of that name, however deep `path` goes. */
export function childOf(element: XmlElement | undefined, ...path: readonly string[]): XmlElement | undefined {
  let at = element;
  for (const name of path) at = at?.children.find((child) => child.name === name);
  return at;
}

export function textOf(element: XmlElement | undefined, ...path: readonly string[]): string | undefined {
  return childOf(element, ...path)?.text.trim();
}
