import * as Flags from "@oclif/core/flags";
import type { ContainerSpecMessage } from "../src/api/client-messages.ts";
import { CcError, isName, isZone, parseDuration } from "../src/base/index.ts";
import { many } from "./cloud-command.ts";
import { UsageError, usable } from "./failure.ts";
import {
  checkImage,
  collectPairs,
  type Environment,
  parseByteSize,
  parseEnv,
  parseEnvFile,
  parseLabel,
  parseShares,
  parseSignal,
  parseVolume,
} from "./options.ts";

/** The smallest that anything can start with; what a host really needs is its own to say. */
const MEMORY_BYTES_MIN = 4 * 1024 * 1024;
const DISK_BYTES_MIN = 1024 * 1024;
const LOG_BYTES_MIN = 64 * 1024;
/** `--log-size` is the whole of it, kept in this many files: the oldest goes. */
const LOG_FILES = 3;

export const RUN_FLAGS = {
  image: Flags.string({
    helpValue: "IMAGE",
    description: "alpine, ghcr.io/x/y:tag, name@sha256:...; from this machine oci:DIR[:TAG], docker-archive:FILE, dir:DIR, docker-daemon:NAME[:TAG]",
  }),
  name: Flags.string({ helpValue: "NAME", description: "small letters, digits and hyphens (default: made up)" }),
  detach: Flags.boolean({ char: "d", description: "print the id once it is placed, and return" }),
  interactive: Flags.boolean({ char: "i", description: "pass standard input on" }),
  rm: Flags.boolean({ description: "remove it when it has ended" }),
  memory: Flags.string({ char: "m", helpValue: "BYTES", description: "most memory, and what is set aside for it (default: 512 MiB)" }),
  cpu: Flags.string({ helpValue: "SHARES", description: "1024 is one core's weight (default: 1024)" }),
  disk: Flags.string({ helpValue: "BYTES", description: "its own disk over the image (default: 2 GiB)" }),
  user: Flags.string({ char: "u", helpValue: "USER[:GROUP]", description: "names or numbers (default: the image's)" }),
  env: Flags.string({ ...many, char: "e", helpValue: "NAME[=VALUE]", description: "environment variable; without a value: the one here" }),
  "env-file": Flags.string({ ...many, helpValue: "FILE", description: "lines of NAME=VALUE" }),
  dir: Flags.string({ char: "w", helpValue: "DIR", description: "working directory, made when missing (default: the image's)" }),
  label: Flags.string({ ...many, char: "l", helpValue: "NAME=VALUE", description: "a label of the container" }),
  host: Flags.string({ helpValue: "HOST", description: "run on this host, and never move" }),
  zone: Flags.string({ helpValue: "ZONE", description: "run in this zone" }),
  restart: Flags.string({
    options: ["no", "on-failure", "always"],
    default: "no",
    description: "whether it is started again when it ends, and moved when its host is lost",
  }),
  "read-only": Flags.boolean({ description: "its file system cannot be written" }),
  init: Flags.boolean({ description: "a small init reaps what its process leaves behind" }),
  "stop-signal": Flags.string({ helpValue: "SIGNAL", description: "what asks it to end (default: the image's, else SIGTERM)" }),
  "stop-timeout": Flags.string({ helpValue: "TIME", description: "how long until it is killed (default: 10s)" }),
  "log-size": Flags.string({ helpValue: "BYTES", description: "how much output is kept, the newest (default: 30 MiB)" }),
  "registry-user": Flags.string({ helpValue: "USER", description: "for an image that needs a login (CC_REGISTRY_USER)" }),
  "registry-password": Flags.string({ helpValue: "PASSWORD|@FILE", description: "better from a file (CC_REGISTRY_PASSWORD)" }),
  volume: Flags.string({ ...many, char: "v", helpValue: "VOLUME:PATH[:ro]", description: "a volume, by id or name, and where it is mounted" }),
  explain: Flags.boolean({ description: "show every host's answer on stderr" }),
  vpc: Flags.string({ helpValue: "VPC", description: "the private network it is part of, by id or name (default: that of its zone)" }),
  publish: Flags.string({
    ...many,
    char: "p",
    helpValue: "[[ADDRESS:]PORT:]PORT[/udp]",
    description: "a port of its host that leads to one of its own; without one of the host's, a free one",
  }),
  "publish-on": Flags.string({ options: ["host", "all"], description: "which hosts publish: its own (default), or every one of its zone" }),
  forward: Flags.boolean({ description: "ask the router of its host (UPnP, PCP) to forward what is published" }),
  replicas: Flags.string({ helpGroup: "NOT YET", helpValue: "COUNT", description: "so many of it" }),
  spread: Flags.string({ helpGroup: "NOT YET", options: ["host", "zone"], description: "where replicas stay apart" }),
  "on-isolation": Flags.string({ helpGroup: "NOT YET", options: ["keep", "stop"], description: "what it does when its host is cut off" }),
  tty: Flags.boolean({ char: "t", helpGroup: "NOT YET", description: "a terminal of its own" }),
} as const;

const NOT_YET = ["replicas", "spread", "on-isolation", "tty"] as const;

export type RunFlags = { readonly [K in keyof typeof RUN_FLAGS]?: string | boolean | readonly string[] | undefined };
/** The files and texts that options may name, read by the caller. */
export type RunInputs = {
  readonly environment: Environment;
  readonly readFile: (file: string) => string;
  readonly resolveSecret: (text: string, what: string) => string;
};

const text = (value: RunFlags[keyof RunFlags]): string => (typeof value === "string" ? value : "");
const list = (value: RunFlags[keyof RunFlags]): readonly string[] => (Array.isArray(value) ? value.map(String) : []);

function namedLike(flag: string, value: string, matches: (text: string) => boolean, form: string): string {
  if (value !== "" && !matches(value))
    throw new UsageError(`--${flag} "${value}" is not a name that a ${flag === "zone" ? "zone" : "container"} can have; ${form}`);
  return value;
}

/** What `cc run` asks for; what the user left open stays empty, and the peer's documented default holds. */
export function buildSpec(flags: RunFlags, command: readonly string[], inputs: RunInputs): Partial<ContainerSpecMessage> {
  const early = NOT_YET.find(
    (flag) => flags[flag] !== undefined && flags[flag] !== false && list(flags[flag]).length + text(flags[flag]).length + Number(flags[flag] === true) > 0,
  );
  if (early !== undefined) throw new CcError("NOT_YET", `--${early} is not there yet; leave it out in this version`);
  const image = text(flags.image);
  if (image === "")
    throw new UsageError(
      command.length > 0
        ? `--image is missing; write cc run --image ${command[0]} ...`
        : "--image is missing; write for example cc run --image alpine echo hello",
    );
  if (list(flags.publish).length === 0) {
    const more = text(flags["publish-on"]) !== "" ? "publish-on" : flags.forward === true ? "forward" : undefined;
    if (more !== undefined) throw new UsageError(`--${more} is about published ports; give --publish too, for example --publish 8080:80`);
  }
  const size = (flag: "memory" | "disk" | "log-size", smallest: number): number =>
    flags[flag] === undefined ? 0 : usable(parseByteSize(text(flags[flag]), smallest));
  const { environment } = inputs;
  const fileLines = list(flags["env-file"]).flatMap((file) => usable(parseEnvFile(inputs.readFile(file), environment, file)));
  const env = { ...Object.fromEntries(fileLines), ...usable(collectPairs(list(flags.env), (pair) => parseEnv(pair, environment))) };
  const logBytes = size("log-size", LOG_BYTES_MIN);
  const password = text(flags["registry-password"]) || environment["CC_REGISTRY_PASSWORD"] || "";
  const user = text(flags["registry-user"]) || environment["CC_REGISTRY_USER"] || "";
  if (user === "" && password !== "") throw new UsageError("a registry password without a user; give --registry-user or CC_REGISTRY_USER too");
  const spec: Partial<ContainerSpecMessage> = {
    image: usable(checkImage(image)),
    name: namedLike("name", text(flags.name), isName, "use small letters, digits and hyphens, at most 63"),
    command: [...command],
    env,
    user: text(flags.user),
    dir: text(flags.dir),
    memoryBytes: size("memory", MEMORY_BYTES_MIN),
    cpuShares: flags.cpu === undefined ? 0 : usable(parseShares(text(flags.cpu))),
    diskBytes: size("disk", DISK_BYTES_MIN),
    labels: usable(collectPairs(list(flags.label), parseLabel)),
    host: text(flags.host),
    zone: namedLike("zone", text(flags.zone), isZone, "use small letters, digits and hyphens, at most 32"),
    restart: text(flags.restart),
    readOnly: flags["read-only"] === true,
    init: flags.init === true,
    stopSignal: flags["stop-signal"] === undefined ? "" : usable(parseSignal(text(flags["stop-signal"]))),
    stopTimeoutMs: flags["stop-timeout"] === undefined ? 0 : Math.max(1, usable(parseDuration(text(flags["stop-timeout"])))),
    removeWhenEnded: flags.rm === true,
    logFileBytes: Math.ceil(logBytes / LOG_FILES),
    logFiles: logBytes > 0 ? LOG_FILES : 0,
    stdinOpen: flags.interactive === true,
    vpc: text(flags.vpc),
    publish: list(flags.publish),
    publishEverywhere: text(flags["publish-on"]) === "all",
    forward: flags.forward === true,
    volumes: list(flags.volume).map((volume) => usable(parseVolume(volume))),
    registryUser: user,
    registryPassword: password === "" ? "" : inputs.resolveSecret(password, "the registry password"),
  };
  // What is empty says nothing on the wire: the request fits into one header.
  return Object.fromEntries(
    Object.entries(spec).filter(
      ([, value]) => value !== "" && value !== 0 && value !== false && !(typeof value === "object" && Object.keys(value).length === 0),
    ),
  );
}
