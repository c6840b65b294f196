import { ok, parseSize, type Result, refuse } from "../../src/base/index.ts";
import { HOSTS_MAX, zonesOf } from "./layout.ts";

export type LabCommand =
  | {
      readonly command: "up";
      readonly zones: readonly string[];
      readonly home: number;
      readonly memoryBytes: number | undefined;
      readonly diskBytes: number | undefined;
    }
  | { readonly command: "env"; readonly host: number }
  | { readonly command: "image"; readonly image: string; readonly from: string | undefined; readonly withPassword: boolean }
  | { readonly command: "exec"; readonly host: number; readonly argv: readonly string[] }
  | { readonly command: "kill" | "start" | "restart"; readonly host: number }
  | { readonly command: "cut"; readonly host: number; readonly other: number | undefined; readonly oneWay: boolean }
  | { readonly command: "heal" }
  | { readonly command: "registry"; readonly action: "stop" | "start" }
  | { readonly command: "router"; readonly action: "stop" }
  | { readonly command: "router"; readonly action: "start" | "restart"; readonly only: "pcp" | "upnp" | undefined }
  | { readonly command: "router"; readonly action: "mappings"; readonly json: boolean }
  | { readonly command: "logs"; readonly host: number; readonly follow: boolean }
  | { readonly command: "status"; readonly json: boolean }
  | { readonly command: "down"; readonly which: "this" | "tests" | "all" };

export type LabCall = { readonly lab: string; readonly command: LabCommand };

export const USAGE = `Several hosts on one machine, for trying and testing.

  scripts/lab up [--hosts 3] [--zones a,a,b] [--home N] [--memory SIZE] [--disk SIZE] [--no-build]
                                     registry, hosts and peers; returns when all know all. SIZE is each host's capacity.
                                     With --home the last N hosts are behind a home router (NAT, UPnP and PCP), in a zone
                                     "home" if no zones are given: they reach the others, which reach only what it maps
  eval "$(scripts/lab env [--host K])"
                                     settings of cc for host K's peer, and cc and cc-peer first on PATH
  scripts/lab image NAME [--from oci:DIR:tag] [--with-password]
                                     puts an image into the lab's registry and prints its reference; without a source a
                                     busybox one. With --with-password into the one that asks for lab:lab
  scripts/lab exec K -- CMD...       runs a command on host K
  scripts/lab kill K                 host K dies at once: peer, containers and all
  scripts/lab start K                it comes back with its disk
  scripts/lab restart K              only its peer is restarted
  scripts/lab cut K [L] [--one-way]  host K loses the network, or host L; one way: only what K sends is lost
  scripts/lab heal                   all cuts end
  scripts/lab registry stop|start
  scripts/lab router stop|start|restart [--only pcp|upnp]
                                     the home router loses power, or comes back without the mappings that it had
  scripts/lab router mappings [--json]
                                     which ports it forwards, and to whom
  scripts/lab logs K [-f]
  scripts/lab status [--json]
  scripts/lab down [--all]

Before the command, --name NAME means another lab than the usual one of this checkout.`;

type Words = { readonly positional: readonly string[]; readonly options: ReadonlyMap<string, string>; readonly rest: readonly string[] };

/** `flags` take no value, `values` take one. Everything after `--` is `rest`. */
function sort(words: readonly string[], flags: readonly string[], values: readonly string[]): Result<Words> {
  const positional: string[] = [];
  const options = new Map<string, string>();
  const left = [...words];
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    if (word === "--") return ok({ positional, options, rest: left });
    const [name = "", given] = word.startsWith("--") ? splitOnce(word) : [word, undefined];
    if (!word.startsWith("-")) positional.push(word);
    else if (flags.includes(name) && given === undefined) options.set(name, "");
    else if (values.includes(name)) {
      const value = given ?? left.shift();
      if (value === undefined) return refuse("BAD_USAGE", `${name} needs a value`);
      options.set(name, value);
    } else return refuse("BAD_USAGE", `${word} is not known here`);
  }
  return ok({ positional, options, rest: [] });
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf("=");
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function hostNumber(word: string | undefined): Result<number> {
  const text = word?.replace(/^h/, "");
  const number = Number(text);
  if (text === undefined || !/^\d{1,2}$/.test(text) || number < 1 || number > HOSTS_MAX) {
    return refuse("BAD_USAGE", word === undefined ? "which host? give its number: 1, 2 ..." : `"${word}" is no host; give its number: 1, 2 ...`);
  }
  return ok(number);
}

function optionalSize(text: string | undefined): Result<number | undefined> {
  return text === undefined ? ok(undefined) : parseSize(text);
}

/** Reads the words after `scripts/lab`. Refusals are BAD_USAGE (or BAD_SIZE) with a sentence. */
export function parseArguments(words: readonly string[]): Result<LabCall> {
  let [lab, rest] = ["main", words];
  if (words[0] === "--name") [lab, rest] = [words[1] ?? "", words.slice(2)];
  const command = parseCommand(rest[0] ?? "", rest.slice(1));
  return command.ok ? ok({ lab, command: command.value }) : command;
}

const FLAGS: Readonly<Record<string, readonly string[]>> = {
  up: ["--no-build"],
  image: ["--with-password"],
  cut: ["--one-way"],
  logs: ["-f", "--follow"],
  status: ["--json"],
  router: ["--json"],
  down: ["--all", "--tests"],
};
const VALUES: Readonly<Record<string, readonly string[]>> = {
  up: ["--hosts", "--zones", "--home", "--memory", "--disk"],
  router: ["--only"],
  env: ["--host"],
  image: ["--from"],
};

function parseCommand(name: string, words: readonly string[]): Result<LabCommand> {
  const sorted = sort(words, FLAGS[name] ?? [], VALUES[name] ?? []);
  if (!sorted.ok) return sorted;
  const { positional, options, rest } = sorted.value;
  const most = name === "cut" ? 2 : ["image", "exec", "kill", "start", "restart", "registry", "router", "logs"].includes(name) ? 1 : 0;
  if (positional.length > most && name !== "") return refuse("BAD_USAGE", `"${positional[most]}" is too much for ${name}`);
  if (rest.length > 0 && name !== "exec") return refuse("BAD_USAGE", `${name} takes no command`);
  switch (name) {
    case "up":
      return parseUp(options);
    case "env": {
      const host = hostNumber(options.get("--host") ?? "1");
      return host.ok ? ok({ command: "env", host: host.value }) : host;
    }
    case "image": {
      const image = positional[0];
      if (image === undefined || !/^[a-z0-9]+([._/-][a-z0-9]+)*(:[\w][\w.-]{0,127})?$/.test(image))
        return refuse("BAD_USAGE", "give the image a name such as hello or lib/hello:1");
      return ok({ command: "image", image, from: options.get("--from"), withPassword: options.has("--with-password") });
    }
    case "exec": {
      const host = hostNumber(positional[0]);
      if (!host.ok) return host;
      return rest.length > 0 ? ok({ command: "exec", host: host.value, argv: rest }) : refuse("BAD_USAGE", "which command? scripts/lab exec 1 -- ip addr");
    }
    case "kill":
    case "start":
    case "restart": {
      const host = hostNumber(positional[0]);
      return host.ok ? ok({ command: name, host: host.value }) : host;
    }
    case "cut":
      return parseCut(positional, options.has("--one-way"));
    case "heal":
      return ok({ command: "heal" });
    case "registry": {
      const action = positional[0];
      return action === "stop" || action === "start" ? ok({ command: "registry", action }) : refuse("BAD_USAGE", "registry stop or registry start?");
    }
    case "router":
      return parseRouter(positional[0], options);
    case "logs": {
      const host = hostNumber(positional[0]);
      return host.ok ? ok({ command: "logs", host: host.value, follow: options.has("-f") || options.has("--follow") }) : host;
    }
    case "status":
      return ok({ command: "status", json: options.has("--json") });
    case "down":
      return ok({ command: "down", which: options.has("--all") ? "all" : options.has("--tests") ? "tests" : "this" });
    default:
      return refuse("BAD_USAGE", name === "" ? "no command given" : `there is no command "${name}"`);
  }
}

function parseUp(options: ReadonlyMap<string, string>): Result<LabCommand> {
  const home = Number(options.get("--home") ?? 0);
  const given = options.get("--zones")?.split(",").length ?? 0;
  const count = Number(options.get("--hosts") ?? Math.max(3, given, home + 1));
  if (!Number.isInteger(count) || count < 1 || count > HOSTS_MAX) return refuse("BAD_USAGE", `--hosts takes a number from 1 to ${HOSTS_MAX}`);
  if (!Number.isInteger(home) || home < 0 || home >= count)
    return refuse("BAD_USAGE", "--home takes how many hosts are behind the router; at least one is not");
  // A zone is one fast network, and what is behind a router is not on the others'.
  const outside = zonesOf(options.get("--zones") ?? "a", options.has("--zones") ? count : count - home);
  const zones = outside.ok && !options.has("--zones") ? ok([...outside.value, ...new Array<string>(home).fill("home")]) : outside;
  const memory = optionalSize(options.get("--memory"));
  const disk = optionalSize(options.get("--disk"));
  if (!zones.ok) return zones;
  if (!memory.ok) return memory;
  if (!disk.ok) return disk;
  return ok({ command: "up", zones: zones.value, home, memoryBytes: memory.value, diskBytes: disk.value });
}

function parseRouter(action: string | undefined, options: ReadonlyMap<string, string>): Result<LabCommand> {
  const only = options.get("--only");
  if (only !== undefined && only !== "pcp" && only !== "upnp") return refuse("BAD_USAGE", "--only takes pcp or upnp");
  if (action === "start" || action === "restart") {
    return options.has("--json") ? refuse("BAD_USAGE", `router ${action} prints nothing`) : ok({ command: "router", action, only });
  }
  if (only !== undefined) return refuse("BAD_USAGE", "--only goes with router start and router restart");
  if (action === "mappings") return ok({ command: "router", action, json: options.has("--json") });
  if (action === "stop" && !options.has("--json")) return ok({ command: "router", action });
  return refuse("BAD_USAGE", "router stop, router start, router restart or router mappings?");
}

function parseCut(positional: readonly string[], oneWay: boolean): Result<LabCommand> {
  const host = hostNumber(positional[0]);
  if (!host.ok) return host;
  if (positional[1] === undefined) return ok({ command: "cut", host: host.value, other: undefined, oneWay });
  const other = hostNumber(positional[1]);
  if (!other.ok) return other;
  if (other.value === host.value) return refuse("BAD_USAGE", "a host can't be cut from itself");
  return ok({ command: "cut", host: host.value, other: other.value, oneWay });
}
