import { CcError } from "../base/index.ts";
import type {
  BidAnswer,
  CallName,
  ChangeReply,
  ContainerSpecMessage,
  ContainerState,
  FirewallRuleState,
  HostState,
  ImageState,
  Inspection,
  ItemError,
  KeyState,
  ReplyOf,
  VolumeState,
  VpcState,
  Written,
} from "./client-messages.ts";

// Shapes: an example value a field. "" string, 0 number, false boolean, [item] list, MAP string map, NUMBERS map of
// numbers, undefined an optional number.
const MAP: { readonly [key: string]: string } = {};
const NUMBERS: { readonly [key: string]: number } = {};
const WRITTEN: Written = { key: "", versionMajor: 0, versionMinor: 0, host: "" };
const ITEM_ERROR: ItemError = { item: "", code: "", message: "" };
const NEIGHBOUR = { peer: "", addresses: [""], endpoints: [""], certificate: "" };
const CONTAINER: ContainerState = {
  id: "",
  name: "",
  image: "",
  imageDigest: "",
  phase: "",
  wanted: "",
  host: "",
  hostName: "",
  zone: "",
  address: "",
  reason: "",
  restarts: 0,
  createdAtMs: 0,
  startedAtMs: 0,
  endedAtMs: 0,
  command: [""],
  labels: MAP,
  env: MAP,
  memoryBytes: 0,
  cpuShares: 0,
  diskBytes: 0,
  hostReachable: false,
  heardAtMs: 0,
  restart: "",
  epoch: 0,
  vpc: "",
  vpcName: "",
  ports: [{ hostAddress: "", hostPort: 0, port: 0, protocol: "", everywhere: false, external: "", note: "" }],
};
const CAPACITY = { memoryBytes: 0, diskBytes: 0, cpuShares: 0, containersMax: 0 };
const HOST: HostState = {
  id: "",
  name: "",
  zone: "",
  state: "",
  sinceMs: 0,
  seenBy: [""],
  version: "",
  capacity: CAPACITY,
  used: CAPACITY,
  clockOffsetMs: 0,
  self: false,
  endpoints: [""],
  clockWarning: false,
  lastMajor: 0,
  lastMinor: 0,
  admitted: [""],
  encrypted: "",
  outside: false,
  outsideNote: "",
};
const KEY: KeyState = { id: "", name: "", role: "", signedBy: "", createdAtMs: 0, revoked: false, revokedAtMs: 0, signed: [""] };
const VOLUME: VolumeState = {
  id: "",
  name: "",
  sizeBytes: 0,
  persistent: false,
  state: "",
  host: "",
  hostName: "",
  zone: "",
  hostReachable: false,
  createdAtMs: 0,
  users: [{ container: "", name: "", path: "", readOnly: false, phase: "" }],
  epoch: 0,
  key: "",
};
const VPC: VpcState = {
  id: "",
  name: "",
  cidr: "",
  zone: "",
  state: "",
  gateway: "",
  vni: 0,
  addresses: 0,
  used: 0,
  containers: 0,
  createdAtMs: 0,
  key: "",
  default: false,
  blocks: [{ block: "", owner: "", ownerName: "", reachable: false, free: 0 }],
  members: [{ container: "", name: "", address: "", host: "", hostName: "", phase: "", names: [""] }],
};
const RULE: FirewallRuleState = {
  id: "",
  rule: { vpc: "", action: "", direction: "", protocol: "", ports: [""], target: MAP, cidr: "", labels: MAP, log: false },
  vpcName: "",
  key: "",
  createdAtMs: 0,
};
const METRICS = {
  id: "",
  name: "",
  host: "",
  hostName: "",
  phase: "",
  running: false,
  readAtMs: 0,
  monotonicMs: 0,
  startedAtMs: 0,
  cpu: { usedSeconds: 0, shares: 0, limitCores: 0, throttledSeconds: 0 },
  memory: { usedBytes: 0, peakBytes: 0, limitBytes: 0, oomKills: 0 },
  disk: { usedBytes: 0, limitBytes: 0, readBytes: 0, writtenBytes: 0, reads: 0, writes: 0 },
  interfaces: [{ name: "", receivedBytes: 0, receivedPackets: 0, sentBytes: 0, sentPackets: 0 }],
  pids: { current: 0, limit: 0 },
};
const IMAGE: ImageState = { references: [""], digest: "", sizeBytes: 0, hosts: [""], usedBy: [""], lastUsedAtMs: 0 };
const ANSWER: BidAnswer = { host: "", name: "", zone: "", kind: "", price: 0, terms: NUMBERS, reason: "", chosen: false };
const CHANGE: ChangeReply = { done: [""], errors: [ITEM_ERROR], wrote: [WRITTEN], copies: 0, notAsked: [""], pending: [""] };

const ASKED: NonNullable<Inspection["wanted"]> = { call: "", key: "", keyName: "", stampedAtMs: 0, stampedBy: "" };
const CLAIM: Inspection["claims"][number] = { host: "", hostName: "", epoch: 0, warrant: "", claimedAtMs: 0, phase: "", counts: false };
/** Shown as it came: what later versions add to a spec is not lost on the way to who reads it. */
const AS_IT_CAME = {} as ContainerSpecMessage;
const INSPECTION: Inspection = { status: CONTAINER, spec: AS_IT_CAME, created: ASKED, wanted: ASKED, claims: [CLAIM] };

const SHAPES: { readonly [C in CallName]: ReplyOf<C> } = {
  Hello: { peer: "", mesh: "", timeMs: 0, version: "", zone: "", name: "" },
  Admit: { certificate: "", neighbours: [NEIGHBOUR] },
  Introduce: { neighbours: [NEIGHBOUR] },
  WhoAmI: { key: "", role: "", name: "", peer: "", mesh: "" },
  Run: { id: "", host: "", copies: 0, answers: [ANSWER], wrote: [WRITTEN], warnings: [""] },
  ListContainers: { containers: [CONTAINER], unreachable: [""], asOfMs: 0 },
  ContainerStatus: { containers: [CONTAINER], errors: [ITEM_ERROR] },
  Resolve: { ids: [""], errors: [ITEM_ERROR], notAsked: [""] },
  Stop: CHANGE,
  Start: CHANGE,
  Restart: CHANGE,
  Remove: CHANGE,
  CreateVolume: { id: "", copies: 0, wrote: [WRITTEN] },
  ListVolumes: { volumes: [VOLUME], unreachable: [""], asOfMs: 0 },
  InspectVolumes: { volumes: [VOLUME], errors: [ITEM_ERROR] },
  DeleteVolumes: CHANGE,
  CreateVpc: { id: "", copies: 0, wrote: [WRITTEN] },
  ListVpcs: { vpcs: [VPC], unreachable: [""], asOfMs: 0 },
  InspectVpcs: { vpcs: [VPC], errors: [ITEM_ERROR] },
  DeleteVpcs: CHANGE,
  CreateFirewallRule: { id: "", copies: 0, wrote: [WRITTEN] },
  ListFirewallRules: { rules: [RULE], errors: [ITEM_ERROR] },
  RemoveFirewallRules: CHANGE,
  ListHosts: { hosts: [HOST] },
  CreateInvite: { id: "", addresses: [""], endpoints: [""], wrote: [WRITTEN], copies: 0 },
  RemoveHost: { wrote: [WRITTEN], copies: 0 },
  CreateKey: { id: "", wrote: [WRITTEN], copies: 0 },
  ListKeys: { keys: [KEY] },
  RevokeKey: { wrote: [WRITTEN], copies: 0, kept: [""] },
  Inspect: { containers: [INSPECTION], errors: [ITEM_ERROR] },
  Wait: { ended: [CONTAINER], errors: [ITEM_ERROR] },
  Metrics: { containers: [METRICS], errors: [ITEM_ERROR] },
  MissingBlobs: { missing: [""] },
  ListImages: { images: [IMAGE], notAsked: [""] },
  RemoveImages: { done: [""], errors: [ITEM_ERROR], notAsked: [""] },
};
/** Fields without a value of their own in the shapes: present only where the peer sent them. */
const OPTIONAL_NUMBERS: ReadonlySet<string> = new Set(["exitCode", "usedBytes", "allocatedBytes"]);

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null && !Array.isArray(value);

function malformed(path: string): CcError {
  return new CcError("INTERNAL", `the peer's answer cannot be read at ${path}; is its version much newer or older than this program's?`);
}

function fill(shape: unknown, value: unknown, path: string): unknown {
  if (typeof shape === "string") {
    if (value === undefined || value === null) return "";
    if (typeof value === "string") return value;
    throw malformed(path);
  }
  if (typeof shape === "number") {
    if (value === undefined || value === null) return 0;
    // The JSON form of protobuf writes what JSON cannot hold (NaN, Infinity) as text.
    if (typeof value === "number" || (typeof value === "string" && value !== "")) return Number(value);
    throw malformed(path);
  }
  if (typeof shape === "boolean") {
    if (value === undefined || value === null) return false;
    if (typeof value === "boolean") return value;
    throw malformed(path);
  }
  if (Array.isArray(shape)) {
    if (value === undefined || value === null) return [];
    if (Array.isArray(value)) return value.map((item: unknown, index) => fill(shape[0], item, `${path}[${index}]`));
    throw malformed(path);
  }
  if (value !== undefined && value !== null && !isObject(value)) throw malformed(path);
  const given = value ?? {};
  if (shape === AS_IT_CAME) return given;
  const example = shape === MAP ? "" : shape === NUMBERS ? 0 : undefined;
  if (example !== undefined) return Object.fromEntries(Object.entries(given).map(([key, item]) => [key, fill(example, item, `${path}.${key}`)]));
  const filled: Record<string, unknown> = {};
  for (const [key, part] of Object.entries(shape as object)) filled[key] = fill(part, given[key as keyof typeof given], `${path}.${key}`);
  for (const key of OPTIONAL_NUMBERS) {
    const number: unknown = given[key as keyof typeof given];
    if (typeof number === "number") filled[key] = number;
  }
  return filled;
}

/** A reply with every field in its place. Unknown fields are dropped; a field of another type throws INTERNAL. */
export function decodeReply<C extends CallName>(call: C, json: unknown): ReplyOf<C> {
  // The shape has exactly the reply's type, and fill() gives back what has the shape's form.
  return fill(SHAPES[call], isObject(json) ? json : {}, call) as ReplyOf<C>;
}

/** Written records as they stand in a stream's `placed` event. */
export function decodeWritten(values: readonly unknown[]): readonly Written[] {
  return values.map((value) => fill(WRITTEN, value, "wrote") as Written);
}

/** Bidders' answers as they stand in a stream's `explain` event. */
export function decodeAnswers(values: readonly unknown[]): readonly BidAnswer[] {
  return values.map((value) => fill(ANSWER, value, "answers") as BidAnswer);
}
