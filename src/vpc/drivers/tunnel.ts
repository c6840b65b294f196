import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { CcError, type CommandOutcome, type ShellHelper, shellQuote } from "../../base/index.ts";
import { errorCode, writeFileDurably } from "../../host/index.ts";
import { isTunnelKey, TUNNEL_DEVICE } from "../tunnel.ts";
import type { TunnelDriver, TunnelNetwork } from "../tunnel-driver.ts";
import { KEY_FILE, parseTunnel, planTunnel, type TunnelPlan, type TunnelSeen, type TunnelWanted, tunnelAsMade } from "../tunnel-plan.ts";

const SCRIPT_MS_MAX = 30_000;
const SAID_CHARS = 300;
/** Between what `ip` and `wg` say. */
const BORDER = "--";
/** Before a raw X25519 private key, in PKCS #8. */
const PKCS8_HEAD = Buffer.from("302e020100300506032b656e04220420", "hex");

/**
 * Whether this host can have the tunnel: a kernel with WireGuard (built in, or a module that it finds) and IPv6, and the program that
 * sets keys. Tried in a network namespace that ends with the trial, so nothing is left of it, whatever happens. Undefined: yes; else what is missing.
 */
export async function whyNoTunnel(shell: ShellHelper): Promise<string | undefined> {
  const script = [
    "command -v wg >/dev/null || { echo 'wg is not installed (Debian: wireguard-tools)'; exit 1; }",
    "[ -e /proc/sys/net/ipv6/conf/all/disable_ipv6 ] || { echo 'the kernel has no IPv6'; exit 1; }",
    `unshare --net ip link add ${TUNNEL_DEVICE} type wireguard >/dev/null 2>&1 || { echo 'the kernel has no WireGuard'; exit 1; }`,
  ];
  const outcome = await shell.run(script.join("\n"), { timeoutMs: SCRIPT_MS_MAX });
  return outcome.exitCode === 0 ? undefined : said(outcome);
}

/** Opens the driver; makes the host's key where there is none. `keyFile`: absolute, its folder exists. */
export async function openTunnel(shell: ShellHelper, keyFile: string): Promise<TunnelDriver> {
  return new Tunnel(shell, keyFile, await publicKeyOf(keyFile));
}

class Tunnel implements TunnelDriver {
  readonly publicKey: string;
  readonly #shell: ShellHelper;
  readonly #keyFile: string;
  /** What was seen or made last; undefined: not known. */
  #known: { readonly seen: TunnelSeen | undefined } | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(shell: ShellHelper, keyFile: string, publicKey: string) {
    this.#shell = shell;
    this.#keyFile = keyFile;
    this.publicKey = publicKey;
  }

  converge(wanted: TunnelNetwork | undefined): Promise<boolean> {
    return this.#next(async () => {
      this.#known = { seen: await this.#look() };
      return await this.#make(wanted);
    });
  }

  follow(wanted: TunnelNetwork | undefined): Promise<boolean> {
    return this.#next(() => this.#make(wanted));
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work, work);
    this.#turn = mine.catch(() => undefined); // Its caller hears of it.
    return mine;
  }

  async #make(network: TunnelNetwork | undefined): Promise<boolean> {
    const wanted: TunnelWanted | undefined = network === undefined ? undefined : { ...network, publicKey: this.publicKey };
    this.#known ??= { seen: await this.#look() };
    const plan = planTunnel(this.#known.seen, wanted);
    if (plan.before.length + plan.sets.length + plan.after.length === 0) return false;
    this.#known = undefined;
    await this.#run(applyScript(plan, this.#keyFile), "set up");
    this.#known = { seen: wanted === undefined ? undefined : tunnelAsMade(wanted) };
    return true;
  }

  async #look(): Promise<TunnelSeen | undefined> {
    const script = [
      `ip -d -j addr show dev ${TUNNEL_DEVICE} 2>/dev/null`,
      `echo; echo ${BORDER}`,
      // The private key stays out of every buffer of this process.
      `wg show ${TUNNEL_DEVICE} dump 2>/dev/null | sed '1s/^[^\t]*\t//'`,
    ];
    const { stdout } = await this.#run(script.join("\n"), "read");
    const [addresses = "", dump = ""] = stdout.split(`\n${BORDER}\n`);
    return parseTunnel(addresses, dump);
  }

  async #run(script: string, what: string): Promise<CommandOutcome> {
    const outcome = await this.#shell.run(script, { timeoutMs: SCRIPT_MS_MAX });
    if (outcome.exitCode !== 0) throw new CcError("INTERNAL", `the tunnel to other hosts (${TUNNEL_DEVICE}) cannot be ${what}: ${said(outcome)}`);
    return outcome;
  }
}

/** Stops at what fails: keys come before the device is up. */
function applyScript({ before, sets, after }: TunnelPlan, keyFile: string): string {
  const batch = (lines: readonly string[]): string[] => (lines.length === 0 ? [] : ["ip -batch - <<'.' || exit 1", ...lines, "."]);
  return [
    ...batch(before),
    // IPv6 may be off for new devices.
    ...(before.some((line) => line.startsWith("link add")) ? [`echo 0 >/proc/sys/net/ipv6/conf/${TUNNEL_DEVICE}/disable_ipv6 || exit 1`] : []),
    ...sets.map((words) => `wg set ${TUNNEL_DEVICE} ${words.replace(KEY_FILE, shellQuote(keyFile))} || exit 1`),
    ...batch(after),
  ].join("\n");
}

/** Made once. What is no key was cut off by somebody else's hand: a new one takes its place, and the others hear of it by this host's records. */
async function publicKeyOf(file: string): Promise<string> {
  const stored = await readFile(file, "utf8").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return "";
    throw error;
  });
  const text = stored.trim();
  if (isTunnelKey(text)) return rawKey(createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, Buffer.from(text, "base64")]), format: "der", type: "pkcs8" }), "x");
  const { privateKey } = generateKeyPairSync("x25519");
  await writeFileDurably(file, `${rawKey(privateKey, "d")}\n`, { mode: 0o600 });
  return rawKey(privateKey, "x");
}

/** The public half (`x`) or the private one (`d`), as WireGuard writes it. */
function rawKey(key: KeyObject, half: "x" | "d"): string {
  return Buffer.from(key.export({ format: "jwk" })[half] ?? "", "base64url").toString("base64");
}

const said = ({ stdout }: CommandOutcome): string => stdout.trim().split("\n").join("; ").slice(0, SAID_CHARS);
