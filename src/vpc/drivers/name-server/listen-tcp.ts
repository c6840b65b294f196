import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { Clock } from "../../../base/index.ts";
import type { Answering } from "./answering.ts";
import { framed, TcpFrames } from "./tcp-frames.ts";

const CONNECTIONS_MAX = 1_024;
/** Of one VPC. */
const CONNECTIONS_VPC_MAX = 64;
/** Without a whole question for so long a connection is closed, however many bytes came. Longer than a forwarded answer takes. */
const IDLE_MS = 10_000;
const SWEEP_MS = 1_000;
/** No question is larger; the length before it could promise 64 KiB. */
const QUERY_BYTES_MAX = 4_096;
/** Questions of one connection that wait for the host's resolvers; further ones are read later. */
const PIPELINE_MAX = 64;
/** Answers that the other side does not read; no further question of it is. */
const UNREAD_BYTES_MAX = 64 * 1024;

export type TcpParts = { readonly clock: Clock; readonly answering: Answering };

/** Rejects where it cannot listen. */
export async function listenTcp(address: string, port: number, parts: TcpParts): Promise<void> {
  const connections = new Set<Connection>();
  // Whoever sent all questions may close that half and wait for the answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => undefined); // It closes: nobody is there to be answered.
    const source = socket.remoteAddress ?? "";
    const ofSource = [...connections].filter((one) => one.source === source).length;
    if (!parts.answering.knows(source) || ofSource >= CONNECTIONS_VPC_MAX || connections.size >= CONNECTIONS_MAX) return void socket.destroy();
    const connection = new Connection(socket, source, parts);
    connections.add(connection);
    socket.once("close", () => connections.delete(connection));
  });
  const sweep = (): void => {
    for (const connection of connections) connection.closeIfIdle();
    parts.clock.after(SWEEP_MS, sweep);
  };
  const listening = once(server, "listening");
  server.listen({ host: address, port, backlog: 256 });
  await listening;
  sweep();
}

/** Questions as they come, answers as they are there. */
class Connection {
  readonly source: string;
  readonly #socket: Socket;
  readonly #parts: TcpParts;
  readonly #frames = new TcpFrames(QUERY_BYTES_MAX);
  #pending = 0;
  #hasEnded = false;
  #isReading = false;
  #lastMs: number;

  constructor(socket: Socket, source: string, parts: TcpParts) {
    this.source = source;
    this.#socket = socket;
    this.#parts = parts;
    this.#lastMs = parts.clock.monotonicMs();
    socket.on("data", (chunk: Buffer) => {
      this.#frames.push(chunk);
      this.#read();
    });
    socket.on("drain", () => this.#read());
    socket.once("end", () => {
      this.#hasEnded = true;
      this.#read();
    });
  }

  closeIfIdle(): void {
    if (this.#parts.clock.monotonicMs() - this.#lastMs > IDLE_MS) this.#socket.destroy();
  }

  /** Answers that are there at once come back into it: a loop, not a call a question. */
  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    let isBlocked = this.#isBlocked();
    while (!isBlocked && !this.#socket.destroyed) {
      const question = this.#frames.next();
      if (question === undefined) break;
      if (question === "too large") this.#socket.destroy();
      else this.#handle(question);
      isBlocked = this.#isBlocked();
    }
    this.#isReading = false;
    if (isBlocked) this.#socket.pause();
    else if (this.#hasEnded && this.#pending === 0) this.#socket.end();
    else this.#socket.resume();
  }

  #isBlocked(): boolean {
    return this.#pending >= PIPELINE_MAX || this.#socket.writableLength > UNREAD_BYTES_MAX;
  }

  #handle(question: Buffer): void {
    this.#lastMs = this.#parts.clock.monotonicMs();
    this.#pending += 1;
    this.#parts.answering.handle(question, this.source, "tcp", (reply) => {
      this.#pending -= 1;
      // No answer at all: no query, or too many of them. By UDP it would be silence.
      if (reply === undefined) return void this.#socket.destroy();
      if (this.#socket.writable) this.#socket.write(framed(reply));
      this.#read();
    });
  }
}
