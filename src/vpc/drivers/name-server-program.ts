/**
 * The name server of a host's VPCs, as Node runs it: `name-server-program ADDRESS PORT`. Started by name-server.ts, it has its
 * tables from the peer by the channel between them, and ends with the peer. Once it listens it is nobody, and never root again.
 */
import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { type Clock, parseIp, type Random } from "../../base/index.ts";
import type { NameTable } from "../names.ts";
import { Answering } from "./name-server/answering.ts";
import { Forwarder } from "./name-server/forwarder.ts";
import { listenTcp } from "./name-server/listen-tcp.ts";
import { listenUdp } from "./name-server/listen-udp.ts";
import type { FromNameServer, ToNameServer } from "./name-server/messages.ts";

const NOBODY = 65_534;
/** The address comes with the first VPC's devices, which may still be in the making. */
const ADDRESS_WAIT_MS = 10_000;
const ADDRESS_LOOK_MS = 10;
const OVER_RATE_EVERY_MS = 60_000;

// Those of src/host would bring the log's packages along: half of the time that a start takes.
const random: Random = { bytes: (length) => new Uint8Array(randomBytes(length)), below: (below) => randomInt(below) };
const clock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

const [address = "", port = ""] = process.argv.slice(2);
const own = parseIp(address);
if (own === undefined || process.send === undefined) throw new Error("usage: name-server-program ADDRESS PORT, as a child with a channel");

const tell = (message: FromNameServer): void => {
  if (process.connected) process.send?.(message);
};
const forwarder = new Forwarder({ clock, random, own, onLoop: (nameserver) => tell({ kind: "notice", notice: { kind: "loop", nameserver } }) });
const answering = new Answering({ clock, random, forwarder });

const waitEndMs = clock.monotonicMs() + ADDRESS_WAIT_MS;

async function onceAddressIsThere(listen: () => Promise<void>): Promise<void> {
  for (; ; await wait(ADDRESS_LOOK_MS)) {
    try {
      return await listen();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRNOTAVAIL" || clock.monotonicMs() > waitEndMs) throw error;
    }
  }
}

/** The table that comes in pieces; one after another. */
let coming: NameTable | undefined;

function take(message: ToNameServer): void {
  if (message.kind === "table") {
    coming = { ...message.table, containers: [...(message.isFirst ? [] : (coming?.containers ?? [])), ...message.table.containers] };
    if (message.isLast) answering.set(coming);
    if (message.isLast) coming = undefined;
  }
  if (message.kind === "remove") answering.remove(message.vpc);
  if (message.kind === "nameservers") forwarder.setServers(message.addresses);
  tell({ kind: "taken", number: message.number });
}

process.on("disconnect", () => process.exit(0));
process.on("message", (message: ToNameServer) => take(message));
try {
  await onceAddressIsThere(() => listenUdp(address, Number(port), answering));
  await onceAddressIsThere(() => listenTcp(address, Number(port), { clock, answering }));
} catch (error) {
  process.send({ kind: "failed", code: (error as NodeJS.ErrnoException).code ?? String(error) } satisfies FromNameServer, () => process.exit(1));
  await new Promise(() => undefined);
}
// Root was needed for the port, and for nothing else.
process.setgroups?.([]);
process.setgid?.(NOBODY);
process.setuid?.(NOBODY);
setInterval(() => {
  for (const { vpc, queries } of answering.takeOverRate()) tell({ kind: "notice", notice: { kind: "rate", vpc, queries } });
}, OVER_RATE_EVERY_MS);
tell({ kind: "ready" });
