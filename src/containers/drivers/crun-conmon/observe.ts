import { existsSync, statSync } from "node:fs";
import { CcError, type ContainerId, shellQuote } from "../../../base/index.ts";
import type { Exit, Found } from "../../runtime.ts";
import { type Context, cgroupOf } from "./context.ts";
import { monitorPid, startTicks, textOf } from "./processes.ts";

const KILLED = 137;

/** What is there of a container: from the durable record, conmon's exit file, the processes, and crun's own word only where these leave it open. */
export async function observe(context: Context, id: ContainerId): Promise<Found> {
  const stored = await context.stored.get(id);
  if (stored === undefined) return existsSync(context.paths.bundle(id)) || existsSync(context.paths.state(id)) ? { kind: "half" } : { kind: "absent" };
  const { startedAtMs, runToken } = stored;
  if (stored.ended !== undefined) return { kind: "ended", exit: stored.ended.exit ?? undefined, startedAtMs, runToken };
  // The run folder began anew: the machine was restarted, and with it everything that ran.
  if (stored.life !== context.life) return { kind: "ended", exit: undefined, startedAtMs, runToken };
  const exit = await readExit(context, id, runToken);
  if (exit !== undefined) return { kind: "ended", exit, startedAtMs, runToken };

  const known = context.running.get(id);
  if (known !== undefined && startTicks(known.pid) === known.ticks) return { kind: "running", pid: known.pid, startedAtMs, runToken };
  const monitored = monitorPid(context.paths.conmonPid(id), id) !== undefined;
  // The process is gone and conmon about to write how: still running until it has.
  if (known !== undefined && monitored) return { kind: "running", pid: known.pid, startedAtMs, runToken };
  // conmon may have written it and gone between the two looks.
  const late = monitored ? undefined : await readExit(context, id, runToken);
  if (late !== undefined) return { kind: "ended", exit: late, startedAtMs, runToken };

  const state = await crunState(context, id);
  if (state === undefined || state.status === "created" || state.status === "creating") return { kind: "half" };
  if (state.status === "stopped" && !monitored) return { kind: "ended", exit: undefined, startedAtMs, runToken };
  const ticks = startTicks(state.pid);
  if (ticks !== undefined) context.running.set(id, { pid: state.pid, ticks });
  return { kind: "running", pid: state.pid, startedAtMs, runToken };
}

/** conmon's exit file: the code as text, renamed into place when the last output is in the log. */
async function readExit(context: Context, id: ContainerId, runToken: string): Promise<Exit | undefined> {
  const seen = context.exitsSeen.get(id);
  if (seen?.runToken === runToken) return seen.exit;
  const path = context.paths.exit(id);
  const text = textOf(path).trim();
  if (!/^-?\d{1,5}$/.test(text)) return undefined;
  const exitCode = Number(text);
  const written = statSync(path);
  // Only the kernel's own kill counts: a process may also choose to end with 137.
  const oom = exitCode === KILLED && (existsSync(`${context.paths.bundle(id)}/oom`) || (await cgroupOf(context, id).oomKills()) > 0);
  const exit = { exitCode, oom, endedAtMs: Math.round(written.mtimeMs) };
  // The counters go with the cgroup: what was read once is kept.
  context.exitsSeen.set(id, { exit, runToken });
  return exit;
}

export type CrunState = { readonly status: string; readonly pid: number };

export async function crunState(context: Context, id: ContainerId): Promise<CrunState | undefined> {
  const { crunPath } = context.settings;
  const outcome = await context.deps.process.run(`${shellQuote(crunPath)} --root ${shellQuote(context.paths.crunRoot)} state ${shellQuote(id)}`);
  if (outcome.exitCode !== 0) {
    if (/No such file|does not exist/i.test(outcome.stdout)) return undefined;
    throw new CcError("INTERNAL", `crun cannot tell the state of ${id}: ${outcome.stdout.trim()}`);
  }
  const status = /"status"\s*:\s*"([a-z]+)"/.exec(outcome.stdout)?.[1];
  const pid = Number(/"pid"\s*:\s*(\d+)/.exec(outcome.stdout)?.[1]);
  if (status === undefined || !Number.isSafeInteger(pid)) throw new CcError("INTERNAL", `crun gave no state of ${id}: ${outcome.stdout.trim()}`);
  return { status, pid };
}
