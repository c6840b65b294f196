import { CcError, formatIp, type Ip, parseIp, type ShellHelper } from "../../base/index.ts";
import type { RouteFinder, RouterRoute } from "../router-driver.ts";

const SCRIPT_MS_MAX = 5_000;

/** The default gateway of this process's network namespace, as the kernel has it now. IPv4 only. */
export function createRouteFinder(shell: ShellHelper): RouteFinder {
  const ip = async (words: string, signal: AbortSignal): Promise<string | undefined> => {
    const outcome = await shell.run(`ip -j -4 ${words}`, { timeoutMs: SCRIPT_MS_MAX, signal });
    // 2: the kernel said no (no such route), which is an answer.
    if (outcome.exitCode !== 0 && outcome.exitCode !== 2)
      throw new CcError("INTERNAL", `ip cannot show routes (${outcome.exitCode}): ${outcome.stdout.trim().slice(0, 300)}`);
    return outcome.exitCode === 0 ? outcome.stdout : undefined;
  };
  return {
    async find(signal) {
      const gateway = defaultGateway((await ip("route show default", signal)) ?? "");
      return gateway === undefined ? undefined : routeTo(gateway, (await ip(`route get ${formatIp(gateway)}`, signal)) ?? "");
    },
  };
}

/** Of several the one of the lowest metric, which is the one that the kernel takes. A way without a gateway (a tunnel) has no router on it. */
export function defaultGateway(routes: string): Ip | undefined {
  const ways = listOf(routes).filter((way) => way["dst"] === "default" && typeof way["gateway"] === "string");
  const best = ways.toSorted((a, b) => Number(a["metric"] ?? 0) - Number(b["metric"] ?? 0))[0];
  return parseIp(String(best?.["gateway"] ?? ""));
}

/** Our own address on the way to the gateway, which is the one that the gateway sees. */
export function routeTo(gateway: Ip, route: string): RouterRoute | undefined {
  const [way] = listOf(route);
  const local = parseIp(String(way?.["prefsrc"] ?? ""));
  return local === undefined ? undefined : { gateway, local, device: String(way?.["dev"] ?? "") };
}

/** `ip -j` prints nothing at all, or an empty list, where there is nothing. */
function listOf(text: string): readonly Readonly<Record<string, unknown>>[] {
  if (text.trim() === "") return [];
  const value: unknown = JSON.parse(text);
  return Array.isArray(value) ? value.filter((way) => typeof way === "object" && way !== null) : [];
}
