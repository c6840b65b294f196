import type { FrameChannel } from "../api/index.ts";
import { asCcError, CcError, type ContainerId, type Logger } from "../base/index.ts";
import { FramePump } from "./frame-pump.ts";
import { isTunnelFrame, type ResetReason } from "./frames.ts";
import { Multiplexer } from "./multiplexer.ts";
import type { TunnelSocket } from "./socket.ts";
import type { Budget } from "./window.ts";

/** Connects to programs in containers, from inside their network namespaces. */
export interface ContainerDialer {
  /** Throws NOT_RUNNING (no such namespace), CONNECTION_REFUSED (nothing listens on the port), TIMEOUT, RATE_LIMITED. */
  connect(container: ContainerId, port: number): Promise<TunnelSocket>;
  /** The container stopped: what was kept for it ends. */
  release(container: ContainerId): void;
}

/** One run of a container, or that there is none; `over`: there will be none on this host. */
export type RunNow =
  | { readonly kind: "running"; readonly startedAtMs: number }
  | { readonly kind: "stopped"; readonly text: string }
  | { readonly kind: "over" };

/** The runs of the container of one tunnel, on this host. */
export interface Runs {
  now(): RunNow;
  /** Resolves with what is, once it is another than `known`. Throws the signal's reason. */
  changed(known: RunNow, signal: AbortSignal): Promise<RunNow>;
}

export type ServeParts = { readonly dialer: ContainerDialer; readonly budget: Budget; readonly runs: Runs; readonly log: Logger };
export type ServeTarget = { readonly container: ContainerId; readonly port: number };

/** What the host tells the user's side: whether the container runs here now. */
export type Standing = { readonly type: "standing"; readonly running: boolean; readonly text: string };

export const sameRun = (a: RunNow, b: RunNow): boolean =>
  a.kind === b.kind &&
  (a.kind !== "running" || (b.kind === "running" && a.startedAtMs === b.startedAtMs)) &&
  (a.kind !== "stopped" || (b.kind === "stopped" && a.text === b.text));

/**
 * A tunnel at the container's host: until the user's side ends it, or the container is over here. It outlives the runs of
 * the container: while none runs, connections are refused.
 */
export async function serveContainer(
  parts: ServeParts,
  target: ServeTarget,
  channel: FrameChannel,
  tell: (standing: Standing) => Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { dialer, budget, runs, log } = parts;
  const ending = new AbortController();
  const either = AbortSignal.any([signal, ending.signal]);
  const pump = new FramePump(
    channel,
    () => tunnel.drained(),
    (error) => ending.abort(error),
  );
  const tunnel = new Multiplexer(pump, budget, {
    opened: (connection) => {
      if (runs.now().kind !== "running") return connection.reset("not-running");
      dialer.connect(target.container, target.port).then(
        (socket) => connection.accept(socket),
        (error: unknown) => {
          const { code } = asCcError(error);
          if (code !== "CONNECTION_REFUSED" && code !== "NOT_RUNNING")
            log.warn({ container: target.container, err: error }, "a tunnel's connection could not be made");
          connection.reset(RESETS[code] ?? "failed");
        },
      );
    },
  });
  const receiving = (async () => {
    for await (const frame of channel.frames()) if (isTunnelFrame(frame)) tunnel.receive(frame);
  })();
  // The user's side ended it, or broke it.
  receiving.then(
    () => ending.abort(OVER),
    (error: unknown) => ending.abort(error),
  );
  try {
    for (let run = runs.now(); run.kind !== "over"; ) {
      pump.send(tell({ type: "standing", running: run.kind === "running", text: run.kind === "running" ? "" : run.text }));
      const before = run;
      run = await runs.changed(before, either);
      if (before.kind !== "running") continue;
      tunnel.resetAll("not-running");
      dialer.release(target.container);
    }
  } catch (error) {
    if (error !== OVER) throw error;
  } finally {
    tunnel.close();
    ending.abort(OVER);
  }
}

const OVER = new CcError("CANCELLED", "the tunnel is over");
const RESETS: Readonly<Record<string, ResetReason>> = { CONNECTION_REFUSED: "refused", NOT_RUNNING: "not-running", RATE_LIMITED: "no-room" };
