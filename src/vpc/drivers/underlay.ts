import { formatIp, type Ip, type ShellHelper } from "../../base/index.ts";
import { type OwnUnderlay, parseWays, underlayOf } from "../underlay.ts";

/** More would say the same. */
const NEIGHBOURS_MAX = 32;
const SCRIPT_MS_MAX = 10_000;
/** An address of the documentation (RFC 5737): the way to it is the way to the world. Nothing is sent. */
const ANYBODY = "192.0.2.1";

/** How this host is seen by others of its zone; without others, by the world. Undefined: it has no way to anybody. */
export async function findUnderlay(shell: ShellHelper, neighbours: readonly Ip[]): Promise<OwnUnderlay | undefined> {
  const others = neighbours.length > 0 ? neighbours.map(formatIp) : [ANYBODY];
  const lines = others.slice(0, NEIGHBOURS_MAX).map((address) => `route get ${address}`);
  // An unreachable one is an error of its line alone.
  const { stdout } = await shell.run(["ip -j -force -batch - <<'.' 2>/dev/null", ...lines, "link show", ".", "exit 0"].join("\n"), {
    timeoutMs: SCRIPT_MS_MAX,
  });
  return underlayOf(parseWays(stdout));
}
