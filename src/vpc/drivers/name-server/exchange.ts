import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import type { Clock } from "../../../base/index.ts";
import { framed, TcpFrames } from "./tcp-frames.ts";

const UPSTREAM_PORT = 53;
/** A resolver answers from its cache in milliseconds and asks the world within a second; clients give up after 5. */
const TRY_MS = 2_000;
const MESSAGE_BYTES_MAX = 65_535;

/** Reads a packet that came; undefined: it is none that was waited for. */
type Read<T> = (packet: Buffer) => T | undefined;

/**
 * One question to one server over UDP, from a socket of its own: the kernel gives it a random port, takes packets from that server only,
 * and says when nobody listens there. Undefined: no answer.
 */
export function exchangeUdp<T>(clock: Clock, server: string, packet: Buffer, read: Read<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: isIPv6(server) ? "udp6" : "udp4", lookup: (address, _options, done) => done(null, address, isIPv6(address) ? 6 : 4) });
    let isOver = false;
    const end = (value: T | undefined): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      socket.close();
      resolve(value);
    };
    const cancel = clock.after(TRY_MS, () => end(undefined));
    socket.on("error", () => end(undefined));
    socket.on("message", (answer) => {
      const value = read(answer);
      if (value !== undefined) end(value);
    });
    socket.connect(UPSTREAM_PORT, server, (error?: Error) => {
      if (isOver) return;
      if (error instanceof Error) return end(undefined);
      socket.send(packet, (unsent) => {
        if (unsent !== null) end(undefined);
      });
    });
  });
}

/** The same over TCP. */
export function exchangeTcp<T>(clock: Clock, server: string, packet: Buffer, read: Read<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: server, port: UPSTREAM_PORT, noDelay: true });
    const frames = new TcpFrames(MESSAGE_BYTES_MAX);
    const end = (value: T | undefined): void => {
      cancel();
      socket.destroy();
      resolve(value);
    };
    const cancel = clock.after(TRY_MS, () => end(undefined));
    socket.on("error", () => end(undefined));
    socket.on("close", () => end(undefined));
    socket.once("connect", () => socket.write(framed(packet)));
    socket.on("data", (chunk: Buffer) => {
      frames.push(chunk);
      // One question, one answer: what else comes is not read.
      const answer = frames.next();
      if (answer !== undefined) end(answer === "too large" ? undefined : read(answer));
    });
  });
}
