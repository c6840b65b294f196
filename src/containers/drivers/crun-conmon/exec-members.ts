import { readdirSync, readlinkSync, statSync } from "node:fs";
import { CcError, type Clock, type ContainerId, sleep } from "../../../base/index.ts";
import { type Context, cgroupOf } from "./context.ts";
import { observe } from "./observe.ts";
import { textOf } from "./processes.ts";

const LOOK_MS = 10;
const END_MS_MAX = 5_000;

type Member = { readonly pid: number; readonly parent: number; readonly session: number };

/** The processes of a container, as the host counts them. */
async function membersOf(context: Context, id: ContainerId): Promise<readonly Member[]> {
  return (await cgroupOf(context, id).pids()).flatMap((pid) => {
    const text = textOf(`/proc/${pid}/stat`);
    const [state, parent, , session] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return state === undefined || state === "" || state === "Z" || state === "X" ? [] : [{ pid, parent: Number(parent), session: Number(session) }];
  });
}

/**
 * Who came into the container with one exec: what crun started, and what shares its session. With crun 1.8 that is the session
 * that crun itself was given, later ones begin another inside. `sessions` keeps what was found for when the first of them is gone.
 */
export async function execMembers(context: Context, id: ContainerId, crunPid: number, sessions: Set<number>): Promise<readonly number[]> {
  const members = await membersOf(context, id);
  sessions.add(crunPid);
  for (const { parent, session } of members) if (parent === crunPid && session > 0) sessions.add(session);
  return members.filter(({ parent, session }) => parent === crunPid || sessions.has(session)).map(({ pid }) => pid);
}

/**
 * Ends what an earlier peer's execs left in a container that runs on: their first process has a parent outside, which of all
 * others only the container's own has. Nobody reads them any more.
 */
export async function endStrays(context: Context, id: ContainerId): Promise<void> {
  const found = await observe(context, id);
  if (found.kind !== "running") return;
  const { clock, logger } = context.deps;
  const until = clock.monotonicMs() + END_MS_MAX;
  const sessions = new Set<number>();
  for (;;) {
    const members = await membersOf(context, id);
    const inside = new Set(members.map(({ pid }) => pid));
    const own = members.find(({ pid }) => pid === found.pid)?.session;
    for (const { pid, parent, session } of members) if (pid !== found.pid && !inside.has(parent) && session !== own) sessions.add(session);
    const strays = members.filter(({ session }) => session > 0 && sessions.has(session));
    if (strays.length === 0) return;
    if (clock.monotonicMs() > until)
      throw new CcError("CONTAINER_FAILED", `what earlier execs left in ${id} does not end: ${strays.map(({ pid }) => pid).join(", ")}`);
    logger.info({ container: id, pids: strays.map(({ pid }) => pid) }, "what was run in the container through a peer that is gone is ended");
    signalAll(
      strays.map(({ pid }) => pid),
      "SIGKILL",
    );
    await sleep(clock, LOOK_MS);
  }
}

/**
 * Ends the shells and cruns of an earlier peer's execs, which have their folders below `folder` as their own: after that nothing
 * more comes into a container from them.
 */
export async function endScripts(clock: Clock, folder: string): Promise<void> {
  const until = clock.monotonicMs() + END_MS_MAX;
  for (let pids = workingBelow(folder); pids.length > 0 && clock.monotonicMs() < until; pids = workingBelow(folder)) {
    signalAll(pids, "SIGKILL");
    await sleep(clock, LOOK_MS);
  }
}

/**
 * A folder of the same name in another mount namespace is another peer's (several in containers, hosts of a lab): it lies on
 * another file system.
 */
function workingBelow(folder: string): readonly number[] {
  const device = statSync(folder, { throwIfNoEntry: false })?.dev;
  if (device === undefined) return [];
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const cwd = `/proc/${name}/cwd`;
    try {
      return readlinkSync(cwd).startsWith(`${folder}/`) && statSync(cwd).dev === device ? [Number(name)] : [];
    } catch {
      return []; // Gone between the two looks, or a thread of the kernel.
    }
  });
}

/** Gone between the look and the signal is what was wanted. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals | number): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // Gone already.
    }
  }
}
