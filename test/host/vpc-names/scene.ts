import type { Logger } from "../../../src/base/index.ts";
import { systemClock, systemRandom } from "../../../src/host/index.ts";
import { createNameServer } from "../../../src/vpc/drivers/name-server.ts";
import type { NameServer } from "../../../src/vpc/name-server.ts";
import type { NameTable } from "../../../src/vpc/names.ts";
import { ip as parse, tableOf } from "../../unit/vpc/dns-client.ts";
import { ip, networkOf, PROGRAM } from "./network.ts";

export const HOST = "100.127.240.1";
export const PROD = "100.127.240.2";
export const TEST = "100.127.240.3";
export const STRANGER = "100.127.240.9";
export const RESOLVERS = ["192.0.2.51", "192.0.2.52", "192.0.2.53"] as const;

export const prod: NameTable = tableOf(
  "prod",
  { web: { address: "10.7.0.5", labels: { app: "shop" } }, web2: { address: "10.7.0.6", labels: { app: "shop" } } },
  { source: PROD },
);
export const test: NameTable = tableOf("test", { web: { address: "10.7.0.77" } }, { number: 2, source: TEST });

/** Everything that is on a host's devices, on the loopback of a namespace that must be the test's own. */
export async function makeNetwork(): Promise<void> {
  if ((await networkOf("self")) === (await networkOf(process.ppid))) throw new Error("run this by its .test.ts: it needs a network namespace of its own");
  await ip("link", "set", "lo", "up");
  for (const address of [HOST, PROD, TEST, STRANGER, ...RESOLVERS]) await ip("address", "add", `${address}/32`, "dev", "lo");
}

export type Logged = { readonly level: string; readonly fields: object; readonly message: string };

/** `lingerMs`: instead of the minute that the process is kept without a table. */
export function startScene(lingerMs = 60_000): { readonly server: NameServer; readonly logged: Logged[] } {
  const logged: Logged[] = [];
  const at =
    (level: string) =>
    (fields: object, message: string): void =>
      void logged.push({ level, fields, message });
  const log: Logger = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), child: () => log };
  const clock = { ...systemClock, after: (delayMs: number, fire: () => void) => systemClock.after(delayMs === 60_000 ? lingerMs : delayMs, fire) };
  return { server: createNameServer({ address: parse(HOST), port: 53, program: PROGRAM, clock, random: systemRandom, log }), logged };
}

export const answers = (server: NameServer, table: NameTable): Promise<void> => {
  server.set(table);
  return server.answering(table.vpc, AbortSignal.timeout(20_000));
};
