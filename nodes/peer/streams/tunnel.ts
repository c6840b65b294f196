import { Channel, encodeJsonFrame, type FrameChannel } from "../../../src/api/index.ts";
import { CcError, type ContainerId, type Logger } from "../../../src/base/index.ts";
import { type Budget, type ContainerDialer, type RunNow, type Runs, sameRun, serveContainer } from "../../../src/tunnel/index.ts";
import type { PhaseBoard, PhaseNow } from "../phase-board.ts";

export type TunnelParts = { readonly dialer: ContainerDialer; readonly budget: Budget; readonly board: PhaseBoard; readonly log: Logger };

/** `cc local-remote serve` at the host that has the container. */
export async function serveTunnel(parts: TunnelParts, id: ContainerId, port: number, channel: FrameChannel, signal: AbortSignal): Promise<void> {
  if (port < 1 || port > 65_535) throw new CcError("BAD_REQUEST", `${port} is not a port; give 1 to 65535`);
  const runs = runsOf(parts.board, id);
  await serveContainer({ ...parts, runs }, { container: id, port }, channel, (standing) => encodeJsonFrame(Channel.event, standing), signal);
}

function runsOf(board: PhaseBoard, id: ContainerId): Runs {
  return {
    now: () => runOf(board.of(id)),
    changed: async (known, signal) => runOf(await board.until(id, (now) => !sameRun(runOf(now), known), signal)),
  };
}

function runOf(now: PhaseNow | undefined): RunNow {
  if (now === undefined) return { kind: "stopped", text: "it has not started yet" };
  if (now.phase === "gone" || now.phase === "yielded") return { kind: "over" };
  if ((now.phase === "running" || now.phase === "stopping") && now.startedAtMs > 0) return { kind: "running", startedAtMs: now.startedAtMs };
  if (now.phase === "ended" && now.exitCode !== undefined) return { kind: "stopped", text: `it ended with ${now.exitCode}` };
  return { kind: "stopped", text: now.phase === "failed" && now.reason !== "" ? now.reason : `it is ${now.phase}` };
}
