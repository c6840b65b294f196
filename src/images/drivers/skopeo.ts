import { access, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { base32, CcError, type CommandOutcome, type CommandRunner, type Random } from "../../base/index.ts";
import { errorCode, writeFileDurably } from "../../host/index.ts";
import { MANIFEST_BYTES_MAX } from "../manifest.ts";
import { DEFAULT_REGISTRY, type ImageReference, registryName } from "../reference.ts";
import { explainRegistryError } from "../registry-error.ts";

export type RegistryCredentials = { readonly user: string; readonly password: string };

export type SkopeoInit = {
  readonly commands: CommandRunner;
  readonly random: Random;
  /** For files that live as long as one pull; on a file system that is gone after a reboot. */
  readonly runDir: string;
  /** `host` or `host:port` of registries that are spoken to without TLS, or with a certificate that nobody vouches for. */
  readonly insecureRegistries?: readonly string[];
  /** In place of the host's own /etc/containers/policy.json and registries.conf. */
  readonly policyFile?: string;
  readonly registriesConfFile?: string;
  /** How long a registry may take to accept a connection. */
  readonly connectMs?: number;
};

/** One pull's way to a registry: everything asked through it uses the same credentials, until `close`. */
export interface RegistrySession {
  /** The manifest or index, byte for byte. */
  manifest(reference: ImageReference, signal: AbortSignal): Promise<string>;
  /** The configuration of an image (not of an index), byte for byte. */
  config(reference: ImageReference, signal: AbortSignal): Promise<string>;
  /** Fetches layers into `folder`/sha256/HEX, digests checked; a file that is there already is not fetched. `work` is for skopeo's own files. */
  blobs(reference: ImageReference, folder: string, work: string, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface RegistryClient {
  open(reference: ImageReference, credentials: RegistryCredentials | undefined): Promise<RegistrySession>;
  /** Removes what pulls of an earlier process left in the run folder. */
  sweep(): Promise<void>;
}

const INSPECT_MS_MAX = 60_000;
const COPY_MS_MAX = 3_600_000;
const CONNECT_MS = 5_000;
const HTTPS_PORT = 443;
const AUTH_PREFIX = "auth-";
const HOST_POLICIES = ["/etc/containers/policy.json", `${process.env["HOME"] ?? "/root"}/.config/containers/policy.json`];
const HOST_REGISTRIES = ["/etc/containers/registries.conf", "/etc/containers/registries.conf.d"];

/**
 * Stands in where the host has no policy.json, without which skopeo refuses to work: images of registries are accepted
 * unsigned, as with the file that Debian and Fedora ship; nothing else is. A host's own file always counts.
 */
const POLICY_OF_OURS = JSON.stringify({ default: [{ type: "reject" }], transports: { docker: { "": [{ type: "insecureAcceptAnything" }] } } });

/**
 * Registries through skopeo. The password goes into a file of mode 0600 in the run folder, removed when the session
 * closes: never into arguments, which every process of the host can read.
 */
export function createSkopeo(init: SkopeoInit): RegistryClient {
  const { commands, random, runDir } = init;
  const folder = join(runDir, "registry");
  const insecure = new Set(init.insecureRegistries ?? []);

  async function globals(): Promise<readonly string[]> {
    const conf = init.registriesConfFile === undefined ? [] : ["--registries-conf", init.registriesConfFile];
    return [...(await policy()), ...conf];
  }

  async function policy(): Promise<readonly string[]> {
    if (init.policyFile !== undefined) return ["--policy", init.policyFile];
    for (const file of HOST_POLICIES) if (await exists(file)) return [];
    const file = join(folder, "policy.json");
    await writeFileDurably(file, POLICY_OF_OURS);
    return ["--policy", file];
  }

  async function authFile(registry: string, credentials: RegistryCredentials): Promise<string> {
    if (credentials.user.includes(":")) throw new CcError("BAD_REQUEST", "a registry's user name cannot contain a colon");
    const file = join(folder, `${AUTH_PREFIX}${base32(random.bytes(10))}.json`);
    const auth = Buffer.from(`${credentials.user}:${credentials.password}`).toString("base64");
    await writeFile(file, JSON.stringify({ auths: { [registry]: { auth } } }), { mode: 0o600, flag: "wx" });
    return file;
  }

  return {
    async open(reference, credentials) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const options = await globals();
      const file = credentials === undefined ? undefined : await authFile(reference.registry, credentials);
      const auth = file === undefined ? [] : ["--authfile", file];
      const open = insecure.has(reference.registry);
      const probed = !open || /:\d+$/.test(reference.registry);

      async function skopeo(
        args: readonly string[],
        timeoutMs: number,
        outputBytesMax: number,
        of: ImageReference,
        signal: AbortSignal,
      ): Promise<CommandOutcome> {
        // A peer that is killed takes its downloads with it.
        const outcome = await commands
          .run(["setpriv", "--pdeathsig", "KILL", "skopeo", ...options, ...args], { timeoutMs, outputBytesMax, signal })
          .catch((error: unknown) => {
            if (error instanceof CcError && error.code === "TIMEOUT")
              throw new CcError("REGISTRY_UNREACHABLE", `${of.registry} does not answer; try again later`, { cause: error });
            throw error;
          });
        if (outcome.exitCode === 0) return outcome;
        const { code, message } = explainRegistryError(outcome.stderr, of);
        throw new CcError(code, message);
      }

      async function inspect(extra: readonly string[], of: ImageReference, signal: AbortSignal): Promise<string> {
        const tls = open ? ["--tls-verify=false"] : [];
        const args = ["inspect", "--raw", ...extra, ...tls, ...auth, `docker://${registryName(of)}`];
        const outcome = await skopeo(args, INSPECT_MS_MAX, MANIFEST_BYTES_MAX + 1, of, signal);
        return outcome.stdout;
      }

      return {
        manifest: (of, signal) => (probed ? withConnectLimit(of, init, signal, (limited) => inspect([], of, limited)) : inspect([], of, signal)),
        config: (of, signal) => inspect(["--config"], of, signal),
        async blobs(of, blobFolder, work, signal) {
          const tls = open ? ["--src-tls-verify=false"] : [];
          const shape = ["--quiet", "--remove-signatures", "--dest-oci-accept-uncompressed-layers", "--dest-shared-blob-dir", blobFolder];
          await skopeo(["copy", ...shape, ...tls, ...auth, `docker://${registryName(of)}`, `oci:${work}:image`], COPY_MS_MAX, 64 * 1024, of, signal);
        },
        close: async () => {
          if (file !== undefined) await rm(file, { force: true });
        },
      };
    },
    async sweep() {
      const names = await readdir(folder).catch(absent);
      for (const name of names ?? []) if (name.startsWith(AUTH_PREFIX)) await rm(join(folder, name), { force: true });
    },
  };
}

/**
 * skopeo waits 30 s for a connection. We try one beside it, and give up for both when none comes; not where a
 * mirror or proxy may be asked instead of the registry, which only skopeo knows.
 */
async function withConnectLimit<T>(reference: ImageReference, init: SkopeoInit, signal: AbortSignal, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
  if (await mayBeRedirected(init)) return ask(signal);
  const limit = new AbortController();
  const connectMs = init.connectMs ?? CONNECT_MS;
  const host = reference.registry === DEFAULT_REGISTRY ? "registry-1.docker.io" : reference.registry.replace(/:\d+$/, "");
  const port = Number(/:(\d+)$/.exec(reference.registry)?.[1] ?? HTTPS_PORT);
  const socket = connect({ host: host.replaceAll(/[[\]]/g, ""), port });
  const giveUp = (): void =>
    limit.abort(
      new CcError("REGISTRY_UNREACHABLE", `${reference.registry} does not answer within ${connectMs / 1_000} s; check its name and the network, and try again`),
    );
  const timer = setTimeout(giveUp, connectMs);
  const settled = (): void => {
    clearTimeout(timer);
    socket.destroy();
  };
  socket.once("connect", settled);
  // Refused or unknown: skopeo finds out as quickly, and says it.
  socket.once("error", settled);
  try {
    return await ask(AbortSignal.any([signal, limit.signal]));
  } finally {
    settled();
  }
}

async function mayBeRedirected(init: SkopeoInit): Promise<boolean> {
  if (["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].some((name) => (process.env[name] ?? "") !== "")) return true;
  for (const path of init.registriesConfFile === undefined ? HOST_REGISTRIES : [init.registriesConfFile]) {
    const names = await readdir(path).catch(absent);
    for (const file of names === undefined ? [path] : names.map((name) => join(path, name))) {
      const text = await readFile(file, "utf8").catch(absent);
      if (text !== undefined && /^\s*(location\s*=|\[\[registry\.mirror)/m.test(text)) return true;
    }
  }
  return false;
}

function absent(error: unknown): undefined {
  if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
  throw error;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    (error: unknown) => {
      absent(error);
      return false;
    },
  );
}
