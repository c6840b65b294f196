/** The asking and the asked sides, in the network namespace that the test has to itself. */
import { execFile } from "node:child_process";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { readFile, readlink } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Answer, decode, encode, type RecordType } from "dns-packet";
import { type Read, readReply } from "../../unit/vpc/dns-client.ts";

const run = promisify(execFile);
export const ip = async (...words: readonly string[]): Promise<void> => void (await run("ip", [...words]));

export const PROGRAM = fileURLToPath(new URL("../../../src/vpc/drivers/name-server-program.ts", import.meta.url));

/** The reply to `packet` from an address; undefined: none came. */
export async function askUdp(from: string, to: string, packet: Buffer, timeoutMs = 8_000): Promise<Buffer | undefined> {
  const socket = createSocket("udp4");
  try {
    const bound = once(socket, "listening");
    socket.bind({ address: from, port: 0 });
    await bound;
    const came = once(socket, "message", { signal: AbortSignal.timeout(timeoutMs) });
    socket.send(packet, 53, to);
    const [message] = await came;
    return message as Buffer;
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") return undefined;
    throw error;
  } finally {
    socket.close();
  }
}

export async function lookUp(from: string, to: string, packet: Buffer, timeoutMs?: number): Promise<Read | undefined> {
  const reply = await askUdp(from, to, packet, timeoutMs);
  return reply === undefined ? undefined : readReply(reply);
}

export async function openTcp(from: string, to: string): Promise<Socket> {
  const socket = connect({ host: to, port: 53, localAddress: from, allowHalfOpen: true });
  socket.on("error", () => undefined); // That it closed is what tests look at.
  await once(socket, "connect", { signal: AbortSignal.timeout(5_000) });
  return socket;
}

export const frame = (packet: Buffer): Buffer => Buffer.concat([Buffer.from([packet.length >> 8, packet.length & 0xff]), packet]);

/** Every message until `count` came or the other side closed. */
export async function readTcp(socket: Socket, count: number, timeoutMs = 8_000): Promise<Buffer[]> {
  const messages: Buffer[] = [];
  let held = Buffer.alloc(0);
  const cancel = setTimeout(() => socket.destroy(), timeoutMs);
  try {
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
      held = Buffer.concat([held, chunk as Buffer]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const end = 2 + held.readUInt16BE(0);
        messages.push(held.subarray(2, end));
        held = held.subarray(end);
      }
      if (messages.length >= count) break;
    }
  } catch {
    // It was cut: what came before is what there is.
  }
  clearTimeout(cancel);
  return messages;
}

export async function askTcp(from: string, to: string, packet: Buffer): Promise<Read | undefined> {
  const socket = await openTcp(from, to);
  socket.write(frame(packet));
  const [reply] = await readTcp(socket, 1);
  socket.destroy();
  return reply === undefined ? undefined : readReply(reply);
}

/** What an upstream does with a question. */
export type Behaviour = (question: { readonly name: string; readonly type: RecordType; readonly via: "udp" | "tcp" }) => {
  readonly answers?: readonly Answer[];
  readonly rcode?: number;
  readonly truncated?: boolean;
  readonly silent?: boolean;
  readonly delayMs?: number;
};

/** A resolver of the host, with what it was asked. */
export class Upstream {
  readonly asked: { readonly name: string; readonly id: number; readonly port: number; readonly via: "udp" | "tcp"; readonly bytes: number }[] = [];
  readonly address: string;
  readonly #behaviour: Behaviour;
  readonly #udp: UdpSocket = createSocket("udp4");
  readonly #tcp: Server;

  constructor(address: string, behaviour: Behaviour) {
    this.address = address;
    this.#behaviour = behaviour;
    this.#udp.on("message", (packet, { address: from, port }) => void this.#answer(packet, "udp", port, (reply) => this.#udp.send(reply, port, from)));
    this.#tcp = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (chunk) => void this.#answer((chunk as Buffer).subarray(2), "tcp", socket.remotePort ?? 0, (reply) => socket.end(frame(reply))));
    });
  }

  async listen(): Promise<this> {
    const listening = [once(this.#udp, "listening"), once(this.#tcp, "listening")];
    this.#udp.bind({ address: this.address, port: 53 });
    this.#tcp.listen({ host: this.address, port: 53 });
    await Promise.all(listening);
    return this;
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
  }

  countOf(name: string): number {
    return this.asked.filter((one) => one.name === name).length;
  }

  async #answer(packet: Buffer, via: "udp" | "tcp", port: number, send: (reply: Buffer) => void): Promise<void> {
    const { id = 0, questions = [] } = decode(packet);
    const [question] = questions;
    if (question === undefined) return;
    this.asked.push({ name: question.name, id, port, via, bytes: packet.length });
    const { answers = [], rcode = 0, truncated = false, silent = false, delayMs = 0 } = this.#behaviour({ ...question, via });
    if (silent) return;
    if (delayMs > 0) await wait(delayMs);
    send(encode({ type: "response", id, flags: 0x180 | (truncated ? 0x200 : 0) | rcode, questions: [question], answers: [...answers] }));
  }
}

/** Passes on to `to` whatever it is asked, from `from`: a resolver that has our server as its own upstream. */
export async function startRelay(address: string, from: string, to: string): Promise<{ close(): void }> {
  const front = createSocket("udp4");
  const back = createSocket("udp4");
  front.on("message", (packet) => back.send(packet, 53, to));
  for (const [socket, own, port] of [
    [front, address, 53],
    [back, from, 0],
  ] as const) {
    const listening = once(socket, "listening");
    socket.bind({ address: own, port });
    await listening;
  }
  return {
    close: () => {
      front.close();
      back.close();
    },
  };
}

/** Name server processes that a process has started. */
export async function serversOf(parent: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${parent}/task/${parent}/children`, "utf8");
  const found: number[] = [];
  for (const pid of children.split(" ").filter((word) => word !== "")) {
    // One that ended while it was looked at has none, a zombie has an empty one.
    const words = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (words.includes(PROGRAM)) found.push(Number(pid));
  }
  return found;
}

export const networkOf = (pid: number | "self"): Promise<string> => readlink(`/proc/${pid}/ns/net`);

/** Until it is so; false when it never was. */
export async function becomes(isSo: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<boolean> {
  for (const endMs = performance.now() + withinMs; performance.now() < endMs; await wait(20)) if (await isSo()) return true;
  return false;
}
