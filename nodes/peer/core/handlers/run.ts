import { AttachRequestSchema, ExecRequestSchema, LogsRequestSchema, TunnelRequestSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import { type Caller, Channel, type ContainerStreamCall, decodeBody, encodeJsonFrame, type FrameChannel } from "../../../../src/api/index.ts";
import { CcError } from "../../../../src/base/index.ts";
import { execFromRequest } from "../../../../src/containers/index.ts";
import { containerIdOf, type NotPlaced, type PlacementOutcome } from "../../../../src/placement/index.ts";
import { must } from "../../must.ts";
import { serveExec } from "../../streams/exec.ts";
import { type OutputParts, serveAttached, serveLogs } from "../../streams/output.ts";
import { serveTunnel, type TunnelParts } from "../../streams/tunnel.ts";
import type { AskAround } from "../ask-around.ts";
import type { PeerStream } from "../images/serve-blobs.ts";
import { type RunRead, readRun } from "../run-requests.ts";
import { awaitStarted } from "./await-phase.ts";
import { mustHaveVolumes } from "./find-volumes.ts";
import { mustHaveVpc } from "./find-vpcs.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { containerStreams } from "./streams.ts";
import { toWritten } from "./writes.ts";

export type RunHandlers = Some<"run"> & {
  readonly stream: (call: ContainerStreamCall, caller: Caller, channel: FrameChannel, signal: AbortSignal) => Promise<void>;
};

/** Runs, and the byte streams of what runs, wherever it runs. */
export function runHandlers(
  parts: HandlerParts,
  output: OutputParts,
  { tunnels, between }: { readonly tunnels: Omit<TunnelParts, "board">; readonly between: Readonly<Record<string, PeerStream>> },
  askAround: AskAround,
): RunHandlers {
  const attachOf = (caller: Caller) => decodeBody(AttachRequestSchema, caller.signed.body);
  const execOf = (caller: Caller) => decodeBody(ExecRequestSchema, caller.signed.body);
  const tunnelOf = (caller: Caller) => decodeBody(TunnelRequestSchema, caller.signed.body);
  const logsOf = (caller: Caller) => decodeBody(LogsRequestSchema, caller.signed.body);

  const streams = containerStreams(
    parts,
    {
      Run: {
        asked: (caller) => {
          const { asked } = must(readRun(caller.signed));
          return { container: containerIdOf(asked.key, asked.token) };
        },
        serve: (id, caller, channel, signal) => serveAttached(output, id, { stdin: must(readRun(caller.signed)).spec.stdinOpen, from: 0 }, channel, signal),
      },
      Attach: {
        asked: attachOf,
        serve: (id, caller, channel, signal) => serveAttached(output, id, attachOf(caller), channel, signal),
      },
      Logs: {
        asked: logsOf,
        serve: (id, caller, channel, signal) => serveLogs(output, id, logsOf(caller), channel, signal),
      },
      Exec: {
        asked: (caller) => {
          const exec = execOf(caller);
          // What cannot be run anywhere is said before anybody is asked.
          must(execFromRequest(exec));
          return exec;
        },
        serve: async (id, caller, channel, signal) => {
          await awaitStarted(parts, id, signal);
          return serveExec(output.runtime, id, must(execFromRequest(execOf(caller))), channel, signal);
        },
      },
      Tunnel: {
        asked: tunnelOf,
        serve: (id, caller, channel, signal) => serveTunnel({ ...tunnels, board: output.board }, id, tunnelOf(caller).port, channel, signal),
      },
    },
    between,
    askAround,
  );

  const placed = async (read: RunRead, caller: Caller, signal: AbortSignal): Promise<PlacementOutcome> => {
    const { asked } = read;
    // A retry of what was placed already needs nothing that it does not have.
    if (parts.view.container(containerIdOf(asked.key, asked.token)) === undefined) {
      await mustHaveVolumes(parts, askAround, asked.requirements.volumes);
      await mustHaveVpc(parts, askAround, asked.requirements.vpc);
    }
    return parts.placement.requester.place(asked, caller.signed, signal);
  };

  /**
   * Every host that may take it started after the signed time, whatever this peer made of that: with the time of here, and from
   * its next second on, the user's side signs once more.
   */
  const refusalOf = ({ code, message }: NotPlaced, details: Readonly<Record<string, string>>): CcError => {
    const nowMs = parts.clock.nowMs();
    const signAgain = code === "CLOCK_SKEW" ? { timeMs: String(nowMs), notBeforeS: String(Math.floor(nowMs / 1_000) + 1) } : {};
    return new CcError(code, message, { details: { ...details, ...signAgain } });
  };

  return {
    run: async (_request, { caller, signal }) => {
      const read = must(readRun(caller.signed));
      const outcome = await placed(read, caller, signal);
      if (!outcome.ok) throw refusalOf(outcome, read.explain ? { answers: JSON.stringify(outcome.answers) } : {});
      return {
        id: outcome.id,
        host: outcome.holding.holder,
        copies: outcome.copies,
        answers: read.explain ? [...outcome.answers] : [],
        wrote: outcome.records.map(toWritten),
      };
    },

    stream: async (call, caller, channel, signal) => {
      if (call === "Run") return attachedRun(caller, channel, signal);
      return streams.toNamed(call, caller, channel, signal);
    },
  };

  async function attachedRun(caller: Caller, channel: FrameChannel, signal: AbortSignal): Promise<void> {
    const read = must(readRun(caller.signed));
    const outcome = await placed(read, caller, signal);
    if (read.explain) await channel.send(encodeJsonFrame(Channel.event, { type: "explain", answers: outcome.answers }));
    if (!outcome.ok) throw refusalOf(outcome, {});
    const { holder } = outcome.holding;
    await channel.send(
      encodeJsonFrame(Channel.event, {
        type: "placed",
        id: outcome.id,
        host: holder,
        copies: outcome.copies,
        wrote: outcome.records.map(toWritten),
        warnings: [],
      }),
    );
    await streams.toHolder(holder, "Run", outcome.id, caller, channel, signal);
  }
}
