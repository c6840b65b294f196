import { setTimeout as pause } from "node:timers/promises";
import { API_PORT } from "../../../nodes/lab/layout.ts";
import { type BenchLab, type LogLine, PeerLogs } from "../bench-lab.ts";
import { Relay } from "../relay.ts";
import { number, type Result } from "../report.ts";
import { median } from "../statistics.ts";
import { timedRun } from "../timed-run.ts";

const SETTLE_MS = 300;
const STEPS = [
  "cc starts, to its connection",
  "connection and TLS, to the request",
  "request to placed",
  "placed to started",
  "started to first output",
  "first output to exit",
] as const;

/** Where the time of one `cc run` goes: by a relay before the peer, and by the peers' logs (whole milliseconds). */
export async function benchRunSteps(lab: BenchLab, image: string, runs: number, signal: AbortSignal): Promise<Result> {
  const { hosts } = await lab.status();
  const relay = new Relay(hosts[0]?.address ?? "", API_PORT);
  const logs = new PeerLogs(hosts);
  const steps = STEPS.map((): number[] => []);
  const parts = new Map<string, number[]>();
  try {
    const endpoint = await relay.listen();
    const command = await lab.cc(["run", "--rm", "--image", image, "echo", "hi"]);
    for (let turn = 0; turn < runs; turn += 1) {
      relay.take();
      logs.next();
      const timed = await timedRun({ ...command, env: { ...command.env, CC_ENDPOINT_URL: endpoint } }, signal);
      await pause(SETTLE_MS, undefined, { signal });
      const [passage] = relay.take();
      const lines = logs.next();
      const placed = find(lines, "container placed");
      const started = find(lines, "container started");
      // The second thing that a client sends in TLS 1.3 ends the handshake; the request goes with it.
      const requestAtMs = passage?.clientFlightsAtMs[1];
      if (passage === undefined || requestAtMs === undefined || timed.firstByteMs === undefined) throw new Error("the run left no trace at the relay");
      const { startedAtMs } = timed;
      const marks = [
        startedAtMs,
        passage.acceptedAtMs,
        requestAtMs,
        Date.parse(placed.time),
        Date.parse(started.time),
        startedAtMs + timed.firstByteMs,
        startedAtMs + timed.exitMs,
      ];
      for (const [index, values] of steps.entries()) values.push((marks[index + 1] ?? 0) - (marks[index] ?? 0));
      note(parts, "placement", { award: placed["awardedMs"], acknowledged: placed["takenMs"] });
      note(parts, "start", started["timings"]);
    }
  } finally {
    relay.close();
  }
  const details = [...parts].map(([name, values]) => `${name} ${number(median(values))}`);
  return {
    part: "run",
    title: `\`cc run\` by step, medians of ${runs} (ms)`,
    columns: ["step", "median", "least"],
    rows: STEPS.map((name, index) => [name, number(median(steps[index] ?? [])), number(Math.min(...(steps[index] ?? [])))]),
    notes: [`Inside these, by the peers' own measuring (some side by side): ${details.join(", ")}.`],
    values: Object.fromEntries([...STEPS.map((name, index) => [`${name}, ms`, steps[index] ?? []] as const), ...parts]),
  };
}

function find(lines: readonly LogLine[], message: string): LogLine {
  const found = lines.filter(({ msg }) => msg === message);
  const [line] = found;
  if (line === undefined || found.length !== 1) throw new Error(`the peers' logs have "${message}" ${found.length} times for one run`);
  return line;
}

function note(parts: Map<string, number[]>, group: string, timings: unknown): void {
  if (typeof timings !== "object" || timings === null) return;
  for (const [name, value] of Object.entries(timings)) {
    if (typeof value !== "number") continue;
    const key = `${group}: ${name}`;
    const values = parts.get(key) ?? [];
    values.push(value);
    parts.set(key, values);
  }
}
