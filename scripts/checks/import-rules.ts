/** One import or re-export of a file: where from, which names (empty for `*` and for effects), and on which line. */
export type Import = { readonly specifier: string; readonly names: readonly string[]; readonly typeOnly: boolean; readonly line: number };

/** A domain imports only those before it; base and host are everybody's ground. */
const DOMAINS = ["identity", "mesh", "state", "placement", "vpc", "firewall", "ports", "images", "volumes", "containers", "api", "tunnel"];
/** What the command line may know of: it runs on laptops and starts in milliseconds. */
const CLI_DOMAINS = ["base", "identity", "api", "tunnel"];

/** Where a package may be imported, by path; a package that is not named here may be imported by any driver, node or cli. */
const PACKAGES: readonly { readonly packages: RegExp; readonly allowed: RegExp; readonly where: string }[] = [
  {
    packages: /^(libp2p|@libp2p\/.*|@chainsafe\/libp2p.*|@multiformats\/.*|it-length-prefixed.*)$/,
    allowed: /^src\/mesh\/drivers\//,
    where: "src/mesh/drivers",
  },
  { packages: /^it-pipe$/, allowed: /^(src\/mesh\/drivers|nodes\/peer\/streams)\//, where: "src/mesh/drivers or nodes/peer/streams" },
  { packages: /^level$/, allowed: /^src\/state\/drivers\//, where: "src/state/drivers" },
  { packages: /^(@oclif\/core|oclif)$/, allowed: /^cli\//, where: "cli" },
  { packages: /^esbuild$/, allowed: /^cli\/|^nodes\/peer\/build\.ts$/, where: "cli and nodes/peer/build.ts" },
  { packages: /^ws$/, allowed: /^src\/(api|tunnel)\/drivers\//, where: "src/api/drivers and src/tunnel/drivers" },
  {
    packages: /^@connectrpc\//,
    allowed: /^src\/(api|mesh)\/drivers\/|^src\/api\/client\.ts$/,
    where: "src/api/drivers, src/mesh/drivers and src/api/client.ts",
  },
  { packages: /^pino$/, allowed: /^src\/host\//, where: "src/host" },
  { packages: /^(zod|structured-headers|@bufbuild\/protobuf)$/, allowed: /^(src|nodes|cli)\//, where: "src, nodes and cli" },
];
/** What decisions may use of Node: no effect, no time, no chance. */
const PURE_MODULES = /^node:(crypto|path|util|buffer|events|string_decoder|url|querystring|assert)$/;
const PURE_NAMES: Readonly<Record<string, readonly string[]>> = { "node:net": ["isIP", "isIPv4", "isIPv6", "BlockList", "SocketAddress"] };

/** The place of a file in the order of the parts: which part, and whether it has effects. */
function placeOf(path: string): { readonly part: string; readonly driver: boolean } {
  const [top = "", second = "", third = ""] = path.split("/");
  if (top === "src") return { part: second, driver: third === "drivers" };
  return { part: top === "nodes" ? `nodes/${second}` : top, driver: false };
}

/** Why `path` may not import `imported`; undefined when it may. `target` is the imported file, for relative imports. */
export function importProblem(path: string, imported: Import, target: string | undefined): string | undefined {
  const from = placeOf(path);
  if (from.part === "test") return undefined;
  if (target === undefined) return path.startsWith("scripts/") ? undefined : packageProblem(path, from, imported);
  return fileProblem(path, from, target, imported);
}

function packageProblem(path: string, from: ReturnType<typeof placeOf>, imported: Import): string | undefined {
  const { specifier } = imported;
  const isSource = path.startsWith("src/");
  if (specifier.startsWith("node:")) {
    if (!isSource || from.driver || from.part === "host" || imported.typeOnly || PURE_MODULES.test(specifier)) return undefined;
    const pure = PURE_NAMES[specifier] ?? [];
    if (imported.names.length > 0 && imported.names.every((name) => pure.includes(name))) return undefined;
    return `${specifier} has effects: only src/host and drivers import it`;
  }
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  const rule = PACKAGES.find(({ packages }) => packages.test(name));
  if (rule !== undefined) return rule.allowed.test(path) ? undefined : `${name} belongs in ${rule.where}`;
  if (isSource && !from.driver && from.part !== "host") return `${name} is not among the packages that decisions may use`;
  return undefined;
}

function fileProblem(path: string, from: ReturnType<typeof placeOf>, target: string, imported: Import): string | undefined {
  const to = placeOf(target);
  if (target.startsWith("src/api/gen/")) return undefined;
  if (from.part === to.part) {
    const wired = !from.driver && to.driver && !imported.typeOnly && !/\/index\.ts$/.test(path);
    return wired ? "only drivers and nodes import drivers: a decision gets them through an interface" : undefined;
  }
  // The simulator runs what the peer runs: that is its point.
  if (from.part === "nodes/simulated" && to.part === "nodes/peer") return undefined;
  if (["test", "scripts", "cli"].includes(to.part) || to.part.startsWith("nodes")) return `nobody imports ${to.part}`;
  if (from.part === "scripts") return undefined;
  if (from.part === "cli") {
    if (!CLI_DOMAINS.includes(to.part)) return `cli imports ${CLI_DOMAINS.join(", ")}, not ${to.part}`;
    // How the command line reaches a peer is an effect, and cli is where it is put together.
    return to.driver && !["api", "tunnel"].includes(to.part) ? "cli imports drivers of api and tunnel only" : undefined;
  }
  const byIndex = target === `src/${to.part}/index.ts`;
  // The client's half of the API is apart from its index, which brings the server along.
  if (from.part.startsWith("nodes/") && /^src\/api\/client[a-z-]*\.ts$/.test(target)) return undefined;
  if (from.part.startsWith("nodes/")) return byIndex || to.driver ? undefined : `nodes import a domain by its index or its drivers: src/${to.part}/index.ts`;
  if (from.part === "base") return "base imports nothing";
  if (!byIndex) return `other domains are imported by their index: src/${to.part}/index.ts`;
  if (to.part === "base") return undefined;
  if (to.part === "host")
    return from.driver || imported.typeOnly ? undefined : "only drivers import src/host: a decision gets time, chance and commands as arguments";
  if (from.part === "host") return "host imports base only";
  const [mine, theirs] = [DOMAINS.indexOf(from.part), DOMAINS.indexOf(to.part)];
  if (mine < 0 || theirs < 0) return `${mine < 0 ? from.part : to.part} is no domain that the design knows`;
  return theirs < mine ? undefined : `${from.part} comes before ${to.part}: it declares a port instead`;
}
