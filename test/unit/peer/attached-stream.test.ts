import t from "tap";
import { createPhaseBoard } from "../../../nodes/peer/phase-board.ts";
import { serveAttached } from "../../../nodes/peer/streams/output.ts";
import { Channel, encodeFrame, encodeJsonFrame, FRAME_BYTES_MAX, INPUT_WINDOW_BYTES } from "../../../src/api/index.ts";
import { CcError, type ContainerId } from "../../../src/base/index.ts";
import { End, turns } from "./stream-end.ts";

const ID = "caaaaaaaaaaaaaaaaaaaa" as ContainerId;
const NOW = { phase: "claimed", exitCode: undefined, reason: "", failure: undefined, startedAtMs: 0, progress: "" };
const signalFrame = (signal: string): Uint8Array => encodeJsonFrame(Channel.control, { signal });
const inputFrame = (bytes: number): Uint8Array => encodeFrame(Channel.stdin, new Uint8Array(bytes));
const inputEnd = encodeFrame(Channel.stdinEnd, new Uint8Array());

/** A container that prints nothing and reads as the test says: all, nothing, or it has closed its input. */
function attached(reads: "all" | "nothing" | "closed" | "broken") {
  const calls: string[] = [];
  let takenBytes = 0;
  const board = createPhaseBoard();
  const channel = new End();
  const left = new AbortController();
  const runtime = {
    stdin: async () => {
      if (reads === "broken") throw new CcError("INTERNAL", "no socat on this host");
      if (reads === "closed") throw new CcError("NOT_RUNNING", "the container no longer reads its standard input");
      return {
        write: async (data: Uint8Array) => {
          if (reads === "nothing") await new Promise(() => undefined);
          takenBytes += data.length;
        },
        end: async () => void calls.push(`end after ${takenBytes}`),
      };
    },
    kill: async (_id: ContainerId, name: string) => void calls.push(name),
    logs: async function* () {
      await board.until(ID, (now) => now.phase === "ended", left.signal);
    },
  };
  board.set(ID, NOW);
  const done = serveAttached({ runtime: runtime as never, board }, ID, { stdin: true, from: 0 }, channel, left.signal);
  done.catch(() => undefined);
  const start = (): void => board.set(ID, { ...NOW, phase: "running", startedAtMs: 1 });
  const end = (): void => board.set(ID, { ...NOW, phase: "ended", startedAtMs: 1, exitCode: 0 });
  const events = (type: string): readonly string[] => channel.got.filter((text) => text.includes(`"type":"${type}"`));
  return { calls, channel, done, start, end, events, leave: () => left.abort(new CcError("CANCELLED", "left")) };
}

t.test("input and signals wait for the start, and the end of the input is said", async (t) => {
  const { calls, channel, done, start, end, events } = attached("all");
  channel.push(inputFrame(10), inputFrame(20), signalFrame("HUP"), inputEnd);
  await turns();
  t.same(calls, []);
  start();
  await turns();
  t.same([...calls].sort(), ["SIGHUP", "end after 30"]);
  t.same([events("took").length > 0, events("input-ended").length], [true, 1]);
  end();
  await done;
});

t.test("a signal overtakes input that the process does not read, of which no more than the window is taken in", async (t) => {
  const { calls, channel, done, start, end, events } = attached("nothing");
  start();
  for (let at = 0; at < INPUT_WINDOW_BYTES / FRAME_BYTES_MAX; at += 1) channel.push(inputFrame(FRAME_BYTES_MAX));
  channel.push(signalFrame("INT"));
  await turns(60);
  t.same(calls, ["SIGINT"]);
  t.same(events("took"), []);
  end();
  await done;
});

t.test("a container that has closed its input: what still comes is read away, and signals go on", async (t) => {
  const { calls, channel, done, start, end, events } = attached("closed");
  start();
  channel.push(inputFrame(FRAME_BYTES_MAX), inputFrame(FRAME_BYTES_MAX), inputEnd, signalFrame("TERM"));
  await turns(60);
  t.same(calls, ["SIGTERM"]);
  t.same([events("took").length > 0, events("input-ended").length], [true, 1]);
  end();
  await done;
});

t.test("input that cannot be passed on breaks the stream: it is not lost without a word", async (t) => {
  const { channel, start, leave } = attached("broken");
  start();
  channel.push(inputFrame(10));
  await turns(60);
  t.match(channel.aborted, { code: "INTERNAL", message: /no socat/ });
  leave();
});
