import { shellQuote as q } from "../../../base/index.ts";
import { type Place, placeName } from "../../rulesets.ts";
import { type SetPlan, TABLE_NAME, type TablePlan } from "../../table.ts";

/** Runs what follows in a namespace; without a path in the shell's own. */
const inside = (path: string | undefined): string => (path === undefined ? "" : `nsenter --net=${q(path)} `);

const TABLE = `inet ${TABLE_NAME}`;
export const ABSENT = "absent";

/** Says `absent` where our table is not there yet. */
export const absentScript = (path: string | undefined): string => `${inside(path)}nft -t list table ${TABLE} >/dev/null 2>&1 || echo ${ABSENT}`;
export const listScript = (path: string | undefined): string => `${inside(path)}nft -j list table ${TABLE}`;
/** Without its elements. */
export const frameScript = (path: string | undefined): string => `${inside(path)}nft -j -t list table ${TABLE}`;
export const countersScript = (path: string | undefined): string => `${inside(path)}nft -j list counters`;

/** So many are asked for one by one: of more it is first looked up which of them anybody sent to, since each is a program. */
const FORGOTTEN_ONE_BY_ONE_MAX = 4;

/**
 * Forgets what the kernel decided about UDP to these ports. A client that sent before a port was published, or since it went elsewhere,
 * would be led wrong as long as it goes on sending: it is a connection that has been decided on.
 */
export function forgetUdpScript(path: string | undefined, ports: readonly number[]): string {
  const enter = inside(path);
  // Exit code 1: there was none.
  const forget = (port: string): string => `${enter}conntrack -D -p udp --orig-port-dst ${port} >/dev/null 2>&1`;
  // The fourth value of a line is the port that its client sent to.
  const sentTo = `${enter}conntrack -L -p udp 2>/dev/null | sed -n 's/^\\([^=]*=\\)\\{3\\}[^=]*dport=\\([0-9]*\\) .*/\\2/p' | sort -u`;
  const lines =
    ports.length <= FORGOTTEN_ONE_BY_ONE_MAX
      ? ports.map((port) => forget(String(port)))
      : [`${sentTo} | while read -r port; do`, `case ' ${ports.join(" ")} ' in *" $port "*) ${forget("$port")};; esac`, "done"];
  return ["command -v conntrack >/dev/null || exit 127", ...lines, "exit 0"].join("\n");
}

/** UDP ports that are led somewhere else after a change of tables. */
export function changedUdpPorts(before: readonly TablePlan[], after: readonly TablePlan[]): readonly number[] {
  const [old, fresh] = [udpTargets(before), udpTargets(after)];
  const keys = [...new Set([...old.keys(), ...fresh.keys()])].filter((key) => old.get(key) !== fresh.get(key));
  return [...new Set(keys.map((key) => Number(/(\d+)$/.exec(key)?.[1])))];
}

function udpTargets(tables: readonly TablePlan[]): ReadonlyMap<string, string> {
  const maps: readonly SetPlan[] = tables.flatMap(({ sets }) => sets.filter(({ kind }) => kind === "map"));
  return new Map(
    maps.flatMap(({ name, elements }) => [...elements].filter(([key]) => / ?udp \. \d+$/.test(key)).map(([key, value]) => [`${name} ${key}`, value] as const)),
  );
}

/** Families of tables that may be in a place from before, whether state wants them or not. */
export function familiesIn(place: Place): readonly TablePlan["family"][] {
  return place.kind === "vpc" ? ["inet", "bridge"] : ["inet"];
}

export const describePlace = (place: Place): string => (place.kind === "host" ? "the host" : placeName(place));
