import { compareIps, formatIp, type Ip, parseIp } from "../base/index.ts";

/** How this host reaches another one. */
export type UnderlayWay = {
  readonly to: Ip;
  /** The address that its packets have: by it the other host knows it. */
  readonly source: Ip;
  readonly device: string;
  /** The device's, or what the route says where that is less. Bytes. */
  readonly mtu: number;
};

export type OwnUnderlay = {
  readonly address: Ip;
  /** For all ways: the least. */
  readonly mtu: number;
  readonly devices: readonly string[];
  /** Other addresses that some ways have: the host is known by one, and what comes from these is not taken from it. */
  readonly others: readonly Ip[];
};

type Row = Readonly<Record<string, unknown>>;

/** Reads `ip -j` answers, one a line: `route get` for each other host, and `link show`. Hosts that cannot be reached have none. */
export function parseWays(output: string): readonly UnderlayWay[] {
  const rows = output.split("\n").flatMap(rowsOf);
  const mtus = new Map(
    rows.flatMap((row) => (typeof row["ifname"] === "string" && typeof row["mtu"] === "number" ? [[row["ifname"], row["mtu"]] as const] : [])),
  );
  return rows.flatMap((row) => {
    const { dst, dev, prefsrc } = row;
    const [to, source] = [dst, prefsrc].map((value) => (typeof value === "string" ? parseIp(value) : undefined));
    // To itself a host goes by its loopback, which says nothing about the others.
    if (to === undefined || source === undefined || typeof dev !== "string" || row["type"] === "local") return [];
    const mtu = Math.min(mtus.get(dev) ?? 0, routeMtu(row) ?? Number.POSITIVE_INFINITY);
    return mtu > 0 ? [{ to, source, device: dev, mtu }] : [];
  });
}

/** What was learned of one path is left out: it is forgotten after minutes, and VXLAN's own packets may be fragmented. */
function routeMtu(row: Row): number | undefined {
  if (row["expires"] !== undefined) return undefined;
  const metrics = Array.isArray(row["metrics"]) ? row["metrics"].filter(isRow) : [];
  const mtu = metrics.map((metric) => metric["mtu"]).find((value) => typeof value === "number");
  return typeof mtu === "number" ? mtu : undefined;
}

/** By the address that most ways have, of equals the lowest. Undefined: there is no way to anybody. */
export function underlayOf(ways: readonly UnderlayWay[]): OwnUnderlay | undefined {
  const counts = new Map<string, { readonly address: Ip; count: number }>();
  for (const { source } of ways) {
    const found = counts.get(formatIp(source)) ?? { address: source, count: 0 };
    found.count += 1;
    counts.set(formatIp(source), found);
  }
  const [first, ...others] = [...counts.values()].toSorted((a, b) => b.count - a.count || compareIps(a.address, b.address)).map(({ address }) => address);
  if (first === undefined) return undefined;
  return { address: first, mtu: Math.min(...ways.map(({ mtu }) => mtu)), devices: [...new Set(ways.map(({ device }) => device))].toSorted(), others };
}

function rowsOf(line: string): Row[] {
  if (!line.startsWith("[")) return [];
  try {
    const json: unknown = JSON.parse(line);
    return Array.isArray(json) ? json.filter(isRow) : [];
  } catch {
    return []; // Cut off.
  }
}

const isRow = (value: unknown): value is Row => typeof value === "object" && value !== null && !Array.isArray(value);
