import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { formatIp, type Ip, type Logger, parseIp } from "../../base/index.ts";
import { errorCode, makeFolderDurably, writeFileDurably } from "../../host/index.ts";
import type { BookedMapping, MappingBook } from "../router-driver.ts";

const VERSION = 1;
/** More than any peer writes. */
const MAPPINGS_MAX = 1_024;

/** The book of mappings as a small file: replaced as a whole, on the disk when it is written. */
export function createMappingFile(path: string, logger: Logger): MappingBook {
  return {
    async load() {
      const text = await readFile(path, "utf8").catch((error: unknown) => {
        if (errorCode(error) === "ENOENT") return undefined;
        throw error;
      });
      if (text === undefined) return [];
      const mappings = parseBook(text);
      if (mappings === undefined) logger.warn({ path }, "the list of port mappings at the router cannot be read; those without a lease stay there");
      return mappings ?? [];
    },
    async save(mappings) {
      await makeFolderDurably(dirname(path));
      await writeFileDurably(path, formatBook(mappings));
    },
  };
}

function formatBook(mappings: readonly BookedMapping[]): string {
  const lines = mappings.map(({ gateway, internalAddress, ...mapping }) => ({
    ...mapping,
    gateway: formatIp(gateway),
    internalAddress: formatIp(internalAddress),
  }));
  return `${JSON.stringify({ version: VERSION, mappings: lines }, null, 1)}\n`;
}

/** Undefined: not a book of this version, or not a whole one. */
export function parseBook(text: string): readonly BookedMapping[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const book = fieldsOf(value);
  if (book["version"] !== VERSION || !Array.isArray(book["mappings"]) || book["mappings"].length > MAPPINGS_MAX) return undefined;
  const mappings = book["mappings"].map(mappingOf);
  return mappings.every((mapping) => mapping !== undefined) ? mappings : undefined;
}

function mappingOf(value: unknown): BookedMapping | undefined {
  const fields = fieldsOf(value);
  const { via, protocol } = fields as { via?: unknown; protocol?: unknown };
  const [gateway, internalAddress] = [addressOf(fields["gateway"]), addressOf(fields["internalAddress"])];
  const [internalPort, externalPort, preferredPort] = [portOf(fields["internalPort"]), portOf(fields["externalPort"]), portOf(fields["preferredPort"])];
  if ((via !== "pcp" && via !== "upnp") || (protocol !== "tcp" && protocol !== "udp") || gateway === undefined || internalAddress === undefined)
    return undefined;
  if (internalPort === undefined || externalPort === undefined || preferredPort === undefined) return undefined;
  return { via, protocol, gateway, internalAddress, internalPort, externalPort, preferredPort };
}

const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> => (typeof value === "object" && value !== null ? { ...value } : {});
const addressOf = (value: unknown): Ip | undefined => (typeof value === "string" ? parseIp(value) : undefined);
const portOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isInteger(value) && value > 0 && value <= 65_535 ? value : undefined;
