import { number } from "../report.ts";
import { median, percentile } from "../statistics.ts";
import type { Pair } from "./by-hand.ts";
import { packets, roundTrips, tcp } from "./traffic.ts";

export const STREAMS = 8;

/** The bench's own VPC in the lab. */
export type BenchVpc = { readonly id: string; readonly name: string; readonly cidr: string; readonly gateway: string };
export type Traffic = { readonly one: number[]; readonly many: number[]; readonly packets: number[]; readonly roundTripUs: number[] };
export const noTraffic = (): Traffic => ({ one: [], many: [], packets: [], roundTripUs: [] });

/** All that is measured of one pair, once. */
export async function measureOnce(pair: Pair, into: Traffic, signal: AbortSignal): Promise<void> {
  into.one.push(await tcp(pair, 1, signal));
  into.many.push(await tcp(pair, STREAMS, signal));
  into.packets.push(await packets(pair, signal));
  into.roundTripUs.push(...(await roundTrips(pair, signal)));
}

/** Of each turn by itself, since a machine is not as fast in one minute as in the next; of these the median. */
export const throughputRatios = (ours: Traffic, other: Traffic): readonly number[] =>
  (["one", "many", "packets"] as const).map((what) => median(ours[what].map((value, turn) => value / (other[what][turn] ?? Number.NaN))));

export function trafficCells(traffic: Traffic, base: Traffic | undefined): readonly string[] {
  const cell = (value: number, ratio: number | undefined): string => `${number(value)}${ratio === undefined ? "" : ` (${number(ratio)})`}`;
  const ratios = base && throughputRatios(traffic, base);
  const throughput = (["one", "many", "packets"] as const).map((what, at) => cell(median(traffic[what]), ratios?.[at]));
  const latency = [0.5, 0.99].map((part) => {
    const [value, of] = [percentile(traffic.roundTripUs, part), base && percentile(base.roundTripUs, part)];
    return cell(value, of && value / of);
  });
  return [...throughput, ...latency];
}

export const trafficValues = (found: readonly (readonly [string, Traffic])[]): Record<string, readonly number[]> =>
  Object.fromEntries(
    found.flatMap(([name, { one, many, packets: udp, roundTripUs }]) => [
      [`${name}, Gbit/s`, one],
      [`${name}, ${STREAMS} streams, Gbit/s`, many],
      [`${name}, UDP, thousands/s`, udp],
      [`${name}, there and back, us`, roundTripUs],
    ]),
  );
