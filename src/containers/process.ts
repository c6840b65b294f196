import { ok, type Result, refuse } from "../base/index.ts";
import type { ImageConfig } from "../images/index.ts";
import type { JoinedNetwork } from "./networks.ts";
import type { ContainerSpec } from "./spec.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Words of the process: the image's entrypoint always stays, the user's command replaces the image's (OCI image spec, as Docker reads it). */
export function processArgs(spec: Pick<ContainerSpec, "command" | "image">, image: Pick<ImageConfig, "entrypoint" | "cmd">): Result<readonly string[]> {
  const args = [...image.entrypoint, ...(spec.command.length > 0 ? spec.command : image.cmd)];
  if (args.length === 0) return refuse("BAD_REQUEST", `the image ${spec.image} names no command; give one after its name`);
  if (args.some((word) => word.includes("\0"))) return refuse("BAD_REQUEST", `the image ${spec.image} names a command with a zero byte`);
  return ok(args);
}

/**
 * Environment of the process, `NAME=value`, each name once: the image's, over it the user's; PATH, HOSTNAME and HOME
 * where nobody has set them (HOME as in /etc/passwd).
 */
export function processEnv(user: Readonly<Record<string, string>>, imageEnv: readonly string[], hostname: string, home: string): readonly string[] {
  const env = new Map<string, string>([
    ["PATH", DEFAULT_PATH],
    ["HOSTNAME", hostname],
    ["HOME", home],
  ]);
  for (const entry of imageEnv) {
    const at = entry.indexOf("=");
    // An image may list a name without a value; Docker drops these.
    if (at > 0 && !entry.includes("\0")) env.set(entry.slice(0, at), entry.slice(at + 1));
  }
  for (const [name, value] of Object.entries(user)) env.set(name, value);
  // An image that sets HOME to nothing means the user's own.
  if (env.get("HOME") === "") env.set("HOME", home);
  return [...env].map(([name, value]) => `${name}=${value}`);
}

/** Working directory, absolute and without `.`, `..` or doubled slashes: the user's, else the image's, else `/`. */
export function processDir(dir: string, imageDir: string): string {
  const parts: string[] = [];
  for (const part of (dir === "" ? imageDir : dir).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== "." && !part.includes("\0")) parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** The container's host name: its name, else its id. */
export function hostnameOf(spec: Pick<ContainerSpec, "id" | "name">): string {
  return spec.name === "" ? spec.id : spec.name;
}

/** What lies under /etc of every container beside the image's files. */
export function etcFiles(
  hostname: string,
  { address, nameservers, search }: Pick<JoinedNetwork, "nameservers" | "search"> & { readonly address?: string },
): { readonly hostname: string; readonly hosts: string; readonly "resolv.conf": string } {
  const own = address === undefined ? `127.0.1.1\t${hostname}\n` : `${address}\t${hostname}\n`;
  return {
    hostname: `${hostname}\n`,
    hosts: `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n${own}`,
    "resolv.conf": [...nameservers.map((server) => `nameserver ${server}\n`), ...(search.length > 0 ? [`search ${search.join(" ")}\n`] : [])].join(""),
  };
}
