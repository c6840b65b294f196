import * as Args from "@oclif/core/args";
import * as Flags from "@oclif/core/flags";
import type { CloudClient } from "../../src/api/client.ts";
import type { ContainerMetrics, ItemError } from "../../src/api/client-messages.ts";
import { CcError, formatSize, parseDuration, sleep } from "../../src/base/index.ts";
import { CloudCommand } from "../cloud-command.ts";
import { systemClock } from "../drivers/clock.ts";
import { UsageError, usable } from "../failure.ts";
import { type Column, formatTime, plainText, renderTable } from "../terminal.ts";
import { cpuPercent, ofLimit, percentText, secondsText, trafficOf, usageFacts } from "../usage.ts";

const INTERVAL_MS_MIN = 200;
/** Between the two readings that a single `cc metrics` takes: what the processor does now needs both. */
const PROBE_MS = 500;
/** A watch goes on through a peer that restarts, but not for ever. */
const SILENT_MS_MAX = 30_000;
const PASSING: ReadonlySet<string> = new Set(["PEER_UNREACHABLE", "STARTING", "STORE_LOST", "TIMEOUT"]);

/** One line of a watch: what was read, or why nothing was. */
type Row = { readonly name: string; readonly state: string; readonly now?: ContainerMetrics; readonly percent?: number | undefined };

export default class Metrics extends CloudCommand {
  static override summary = "Show what containers use: CPU, memory, disk, network, processes.";
  static override description =
    `Asked of their hosts at that moment. CPU is in percent of one core since the reading before; a single call takes two readings, ${PROBE_MS} ms apart. With --watch a terminal is drawn anew each time, elsewhere lines are appended.`;
  static override examples = [
    "<%= config.bin %> metrics web",
    "<%= config.bin %> metrics web db --watch --interval 5s",
    "<%= config.bin %> metrics web --json",
  ];
  static override args = { containers: Args.string({ required: true, multiple: true, ignoreStdin: true, description: "ids or names" }) };
  static override flags = {
    watch: Flags.boolean({ char: "w", description: "go on until interrupted" }),
    interval: Flags.string({ helpValue: "TIME", description: "with --watch: time between two readings (default: 1s)" }),
  };

  override async run(): Promise<number> {
    const { flags, argv } = await this.parse(Metrics);
    if (flags.json && flags.watch) throw new UsageError("--json prints one document and --watch has no end; leave one out");
    if (flags.interval !== undefined && !flags.watch) throw new UsageError("--interval is the time between the readings of --watch");
    const intervalMs = flags.interval === undefined ? 1_000 : usable(parseDuration(flags.interval));
    if (intervalMs < INTERVAL_MS_MIN) throw new UsageError(`--interval is at least ${INTERVAL_MS_MIN}ms`);
    const items = [...new Set(argv.map(String))];
    const { client } = this.connect(flags);
    try {
      return flags.watch ? await this.watch(client, items, intervalMs) : await this.once(client, items, flags.json);
    } finally {
      client.close();
    }
  }

  private async once(client: CloudClient, items: readonly string[], json: boolean): Promise<number> {
    const first = await client.call("Metrics", { containers: items });
    const before = byId(first.containers);
    const anyRuns = first.containers.some(({ running }) => running);
    if (anyRuns) await sleep(systemClock, PROBE_MS);
    const { containers, errors } = anyRuns ? await client.call("Metrics", { containers: items }) : first;
    const percents = containers.map((now) => cpuPercent(before.get(now.id), now));
    if (json) this.printJson(containers.map((now, at) => jsonOf(now, percents[at])));
    else
      for (const [at, now] of containers.entries()) {
        if (at > 0) this.print("");
        this.printFacts(usageFacts(now, percents[at]));
      }
    return this.reportErrors(errors);
  }

  private async watch(client: CloudClient, items: readonly string[], intervalMs: number): Promise<number> {
    let before: ReadonlyMap<string, ContainerMetrics> | undefined;
    let silentSinceMs: number | undefined;
    for (let nextMs = systemClock.monotonicMs(); ; ) {
      try {
        const { containers, errors } = await client.call("Metrics", { containers: items });
        // What never was is a mistake; what goes away while it is watched is news.
        if (before === undefined && containers.length === 0) return this.reportErrors(errors);
        this.show([...containers.map((now) => rowOf(now, before?.get(now.id))), ...errors.map(rowOfError)], before === undefined);
        before = byId(containers);
        silentSinceMs = undefined;
      } catch (error) {
        const nowMs = systemClock.monotonicMs();
        if (before === undefined || !(error instanceof CcError) || !PASSING.has(error.code)) throw error;
        if (silentSinceMs === undefined) this.warning(`${error.message}; it is tried again`);
        silentSinceMs ??= nowMs;
        if (nowMs - silentSinceMs > SILENT_MS_MAX) throw error;
      }
      const nowMs = systemClock.monotonicMs();
      // Readings that took longer than the interval are not made up for.
      nextMs = Math.max(nextMs + intervalMs, nowMs);
      await sleep(systemClock, nextMs - nowMs);
    }
  }

  private show(rows: readonly Row[], first: boolean): void {
    const time = formatTime(systemClock.nowMs());
    if (!process.stdout.isTTY) {
      const lines = renderTable([{ title: "TIME", text: () => time }, ...COLUMNS], rows, undefined);
      return this.print((first ? lines : lines.slice(1)).join("\n"));
    }
    const lines = renderTable(COLUMNS, rows, process.stdout.columns);
    const room = Math.max(2, (process.stdout.rows ?? 24) - 2);
    const shown = lines.length > room ? [...lines.slice(0, room - 1), `... and ${lines.length - room + 1} more`] : lines;
    // From the top, each line cleared behind its end, then what is below: no flicker as from clearing all first.
    const drawn = [plainText(time), ...shown].map((line) => `${line}\u001b[K\n`).join("");
    process.stdout.write(`${first ? "\u001b[2J" : ""}\u001b[H${drawn}\u001b[J`);
  }
}

const COLUMNS: readonly Column<Row>[] = [
  { title: "NAME", text: ({ name }) => name, shrinkTo: 8 },
  { title: "HOST", text: ({ now }) => now?.hostName || now?.host || "", shrinkTo: 6 },
  { title: "STATE", text: ({ state }) => state, shrinkTo: 7 },
  { title: "CPU", text: ({ percent }) => percentText(percent), align: "right" },
  { title: "CPU TIME", text: ({ now }) => (now?.running === true ? secondsText(now.cpu?.usedSeconds ?? 0) : ""), align: "right" },
  {
    title: "MEMORY",
    text: ({ now }) => (now?.running === true ? ofLimit(formatSize(now.memory?.usedBytes ?? 0), now.memory?.limitBytes ?? 0, formatSize) : ""),
  },
  { title: "DISK", text: ({ now }) => (now?.running === true ? ofLimit(formatSize(now.disk?.usedBytes ?? 0), now.disk?.limitBytes ?? 0, formatSize) : "") },
  {
    title: "READ/WRITTEN",
    text: ({ now }) => (now?.running === true ? `${formatSize(now.disk?.readBytes ?? 0)}/${formatSize(now.disk?.writtenBytes ?? 0)}` : ""),
  },
  { title: "RECEIVED/SENT", text: ({ now }) => trafficText(now) },
  { title: "PIDS", text: ({ now }) => (now?.running === true ? String(now.pids?.current ?? 0) : ""), align: "right" },
];

function trafficText(now: ContainerMetrics | undefined): string {
  const traffic = now === undefined ? undefined : trafficOf(now);
  return traffic === undefined ? "" : `${formatSize(traffic.receivedBytes)}/${formatSize(traffic.sentBytes)}`;
}

const rowOf = (now: ContainerMetrics, before: ContainerMetrics | undefined): Row => ({
  name: now.name || now.id,
  state: now.phase,
  now,
  percent: cpuPercent(before, now),
});
const rowOfError = ({ item, code }: ItemError): Row => ({ name: item, state: code });

/** What stands in a reply only because every field has a value is left out. */
function jsonOf(now: ContainerMetrics, percent: number | undefined): object {
  const { id, name, host, hostName, phase, running, cpu } = now;
  return running ? { ...now, cpu: { ...cpu, percent: percent ?? null } } : { id, name, host, hostName, phase, running };
}

function byId(containers: readonly ContainerMetrics[]): ReadonlyMap<string, ContainerMetrics> {
  return new Map(containers.map((each) => [each.id, each]));
}
