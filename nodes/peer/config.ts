import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { CcError, isName, isZone, parseSize } from "../../src/base/index.ts";
import { UNREFERENCED_UPLOAD_BYTES_MAX } from "../../src/images/index.ts";

const size = z.union([z.number().int().nonnegative(), z.string()]).transform((value, context) => {
  if (typeof value === "number") return value;
  const parsed = parseSize(value);
  if (parsed.ok) return parsed.value;
  context.addIssue({ code: "custom", message: parsed.message });
  return z.NEVER;
});

/** Every field of the configuration file. The text behind each is its documentation: `cc-peer config` prints it. */
const schema = z.strictObject({
  dataDir: z.string().default("/var/lib/container-cloud").describe("keys, records, images, disks and logs: survives a reboot"),
  runDir: z.string().default("/run/container-cloud").describe("mounts, sockets, pinned namespaces: gone after a reboot"),
  name: z
    .string()
    .refine(isName, "a name is a DNS label: a to z, 0 to 9 and -, at most 63")
    .optional()
    .describe("this host's name; the machine's host name if not given"),
  zone: z
    .string()
    .refine((text): boolean => isZone(text), "a zone is a to z, 0 to 9 and -, at most 32")
    .default("a")
    .describe("the zone of the mesh's first host; joiners get theirs from the invite"),
  listen: z.array(z.string()).default(["/ip4/0.0.0.0/tcp/7440"]).describe("libp2p multiaddrs to listen on, for other peers"),
  announce: z.array(z.string()).default([]).describe("libp2p multiaddrs that others shall dial instead of the interfaces' own"),
  apiListen: z.string().default("0.0.0.0:8443").describe("address:port of the HTTPS API, for users and joiners"),
  endpoints: z
    .array(z.url({ protocol: /^https$/ }))
    .default([])
    .describe("URLs under which users reach the API; derived from the interfaces if not given"),
  cgroupParent: z.string().default("/container-cloud").describe("cgroup path under which containers live"),
  capacity: z
    .strictObject({
      memoryBytes: size.optional().describe("memory for containers; nine tenths of the machine's if not given"),
      diskBytes: size.optional().describe("disk for containers; nine tenths of the free space of dataDir at first start if not given"),
      cpuShares: z.number().int().positive().optional().describe("1024 = one core; the machine's cores if not given"),
      containersMax: z.number().int().positive().default(500).describe("how many containers at the most"),
    })
    .default({ containersMax: 500 })
    .describe("what this host offers"),
  labels: z.record(z.string(), z.string()).default({}).describe("labels of this host"),
  images: z
    .strictObject({
      unusedDaysMax: z.number().positive().default(7).describe("images that no container here used for so many days go"),
      diskPercentMax: z.number().int().min(1).max(95).default(30).describe("above this share of dataDir's disk the images go that were used longest ago"),
      uploadBytesMax: size.default(UNREFERENCED_UPLOAD_BYTES_MAX).describe("uploaded images that no container uses yet; they go after an hour"),
    })
    .default({ unusedDaysMax: 7, diskPercentMax: 30, uploadBytesMax: UNREFERENCED_UPLOAD_BYTES_MAX })
    .describe("how long and how many images are kept: unusedDaysMax (7), diskPercentMax (30), uploadBytesMax (32 GiB)"),
  vxlanPort: z.number().int().min(1).max(65_535).default(4_789).describe("UDP port of VXLAN between hosts, the same on all of them"),
  encryption: z
    .enum(["auto", "required", "off"])
    .default("auto")
    .describe("of VPCs' traffic to each other host, by WireGuard: auto (where both have it), required (else none goes there) or off"),
  wireguardPort: z.number().int().min(1).max(65_535).default(7_441).describe("UDP port of WireGuard on this host"),
  forward: z
    .strictObject({
      mesh: z.boolean().default(false).describe("the port for other peers is forwarded by the router too"),
      api: z.boolean().default(false).describe("and that of the API"),
      leaseSeconds: z.number().int().min(4).max(86_400).default(1_200).describe("how long the router keeps a port of a host that is lost"),
    })
    .default({ mesh: false, api: false, leaseSeconds: 1_200 })
    .describe("the router (UPnP, PCP) forwards this peer's own ports, so that a mesh spans homes: mesh (false), api (false); leaseSeconds (1200)"),
  insecureRegistries: z.array(z.string()).default([]).describe("host:port of registries that speak plain HTTP"),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info").describe("least level that is logged, to stderr"),
});

export type FileConfig = z.infer<typeof schema>;
export type PeerConfig = Omit<FileConfig, "name"> & { readonly name: string };

/** What environment variables set, over the file and under flags. */
const ENVIRONMENT: Readonly<Record<string, keyof FileConfig>> = {
  CC_PEER_DATA_DIR: "dataDir",
  CC_PEER_RUN_DIR: "runDir",
  CC_PEER_NAME: "name",
  CC_PEER_ZONE: "zone",
  CC_PEER_API_LISTEN: "apiListen",
  CC_PEER_LOG_LEVEL: "logLevel",
};

const DEFAULT_FILE = "/etc/container-cloud/peer.json";

/**
 * Flags over environment over file over defaults. Throws BAD_REQUEST that names the field for anything unknown or wrong.
 */
export function loadConfig(options: { file?: string | undefined; flags: Readonly<Record<string, string | undefined>>; env: NodeJS.ProcessEnv }): PeerConfig {
  const raw: Record<string, unknown> = readConfigFile(options.file);
  for (const [variable, field] of Object.entries(ENVIRONMENT)) {
    const value = options.env[variable];
    if (value !== undefined && value !== "") raw[field] = value;
  }
  for (const [flag, value] of Object.entries(options.flags)) if (value !== undefined) raw[flag] = value;
  const parsed = schema.safeParse(raw);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue === undefined || issue.path.length === 0 ? "configuration" : issue.path.join(".");
    throw new CcError("BAD_REQUEST", `${where}: ${issue?.message ?? "not understood"}; \`cc-peer config\` lists every field`);
  }
  const machine = hostname().toLowerCase().split(".")[0] ?? "";
  return {
    ...parsed.data,
    dataDir: resolve(parsed.data.dataDir),
    runDir: resolve(parsed.data.runDir),
    name: parsed.data.name ?? (isName(machine) ? machine : "host"),
  };
}

function readConfigFile(file: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readFileSync(file ?? DEFAULT_FILE, "utf8"));
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new CcError("BAD_REQUEST", `${file ?? DEFAULT_FILE}: must hold one JSON object`);
    return { ...value };
  } catch (error) {
    if (error instanceof CcError) throw error;
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (missing && file === undefined) return {};
    throw new CcError("BAD_REQUEST", `${file ?? DEFAULT_FILE}: ${missing ? "there is no such file" : error instanceof Error ? error.message : String(error)}`);
  }
}

/** One line a field: name and what it means. */
export function describeConfig(): string {
  const lines: string[] = [];
  for (const [name, field] of Object.entries(schema.shape)) lines.push(`${name.padEnd(20)} ${field.description ?? ""}`);
  return lines.join("\n");
}

/** Where things lie below dataDir and runDir. */
export function paths(config: Pick<PeerConfig, "dataDir" | "runDir">) {
  const { dataDir, runDir } = config;
  return {
    hostKey: join(dataDir, "identity", "host.key"),
    tlsKey: join(dataDir, "identity", "tls.key"),
    certificate: join(dataDir, "identity", "certificate.json"),
    neighbours: join(dataDir, "identity", "neighbours.json"),
    adminRecords: join(dataDir, "identity", "admin-records"),
    invites: join(dataDir, "identity", "invite-uses"),
    acts: join(dataDir, "acts"),
    storeMark: join(dataDir, "identity", "store-mark.json"),
    addresses: join(dataDir, "addresses.json"),
    store: join(dataDir, "store"),
    recordFiles: join(dataDir, "records-beside"),
    images: join(dataDir, "images"),
    containers: join(dataDir, "containers"),
    runContainers: join(runDir, "containers"),
    volumes: join(dataDir, "volumes"),
    runVolumes: join(runDir, "volumes"),
    runJoined: join(runDir, "joined"),
    tunnelKey: join(dataDir, "identity", "wireguard.key"),
    routerMappings: join(dataDir, "router-mappings.json"),
    socket: join(runDir, "api", "peer.sock"),
  };
}
