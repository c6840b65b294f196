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

export const throughputRatios = (ours: Traffic, other: Traffic): readonly number[] =>
  (["one", "many", "packets"] as const).map((what) => median(ours[what]) / median(other[what]));

export function trafficCells(traffic: Traffic, base: Traffic | undefined): readonly string[] {
  const cell = (value: number, of: number | undefined): string => `${number(value)}${of === undefined ? "" : ` (${number(value / of)})`}`;
  const throughput = (["one", "many", "packets"] as const).map((what) => cell(median(traffic[what]), base && median(base[what])));
  const latency = [0.5, 0.99].map((part) => cell(percentile(traffic.roundTripUs, part), base && percentile(base.roundTripUs, part)));
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
