import { CcError } from "../base/index.ts";
import { Connection, type Tunnel } from "./connection.ts";
import { decodeTunnelFrame, encodeTunnelFrame, type ResetReason, type TunnelFrame } from "./frames.ts";
import type { TunnelSocket } from "./socket.ts";
import type { Budget } from "./window.ts";

/** What carries the frames: a WebSocket or a stream between peers. */
export interface FrameSender {
  /**
   * One frame, given in parts, which are the caller's again. False: the sender waits with data until `drained` of the multiplexer is
   * called. The frame itself is taken.
   */
  send(...parts: readonly Uint8Array[]): boolean;
}

export type MultiplexerEvents = {
  /** The other side opened a connection: `accept` it with its socket, or `reset` it. Without this, the other side may open none. */
  readonly opened?: (connection: Connection) => void;
  /** A connection of ours was reset before the container's port had answered. */
  readonly refused?: (reason: ResetReason) => void;
  /** The container's port answered. */
  readonly answered?: () => void;
};

/** Many connections over one stream, each with windows of its own: who reads slowly stops nobody else. */
export class Multiplexer implements Tunnel {
  readonly budget: Budget;
  readonly #sender: FrameSender;
  readonly #events: MultiplexerEvents;
  readonly #connections = new Map<number, Connection>();
  readonly #stalled = new Set<Connection>();
  /** Ours, of which it is not known yet whether the port answers. */
  readonly #unanswered = new Set<number>();
  #last = 0;
  #room = true;
  #closed = false;

  constructor(sender: FrameSender, budget: Budget, events: MultiplexerEvents) {
    this.#sender = sender;
    this.budget = budget;
    this.#events = events;
  }

  get size(): number {
    return this.#connections.size;
  }

  get hasRoom(): boolean {
    return this.#room;
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const connection of this.#connections.values()) bytes += connection.heldBytes;
    return bytes;
  }

  /** A connection of a program at this side. False: there is no room for one more; it was reset. */
  open(socket: TunnelSocket): boolean {
    if (this.#closed || !this.budget.enter()) {
      socket.reset();
      return false;
    }
    do this.#last = (this.#last + 1) >>> 0;
    while (this.#connections.has(this.#last));
    const connection = new Connection(this.#last, this);
    this.#connections.set(this.#last, connection);
    this.#unanswered.add(this.#last);
    this.send({ kind: "open", connection: this.#last });
    connection.attach(socket);
    return true;
  }

  /** A frame that came, and that nobody else knows. Throws BAD_REQUEST where the other side breaks the rules: the stream is of no use any more. */
  receive(bytes: Uint8Array): void {
    if (this.#closed) return;
    const frame = decodeTunnelFrame(bytes);
    if (frame.kind === "open") return this.#onOpen(frame.connection);
    const connection = this.#connections.get(frame.connection);
    // Crossed with our reset of it.
    if (connection === undefined) return;
    if ((frame.kind === "reset" || frame.kind === "opened") && this.#unanswered.delete(frame.connection)) {
      if (frame.kind === "reset") this.#events.refused?.(frame.reason);
      else this.#events.answered?.();
    }
    if (!connection.receive(frame)) throw new CcError("BAD_REQUEST", `the tunnel's other side sent a ${frame.kind} that it had no right to`);
  }

  /** There is room for data again. The connections that wait take turns. */
  drained(): void {
    this.#room = true;
    for (const connection of this.#stalled) {
      if (!this.#room) return;
      this.#stalled.delete(connection);
      connection.pump();
    }
  }

  /** The container stopped: every connection to it is over. */
  resetAll(reason: ResetReason): void {
    for (const connection of [...this.#connections.values()]) connection.reset(reason);
  }

  /** The stream is over, and with it every connection. */
  close(): void {
    this.#closed = true;
    for (const connection of [...this.#connections.values()]) connection.abandon();
  }

  send(frame: TunnelFrame): boolean {
    if (this.#closed) return false;
    if (!this.#sender.send(...encodeTunnelFrame(frame))) this.#room = false;
    return this.#room;
  }

  stall(connection: Connection): void {
    this.#stalled.add(connection);
  }

  forget(connection: Connection): void {
    if (this.#connections.get(connection.number) !== connection) return;
    this.#connections.delete(connection.number);
    this.#stalled.delete(connection);
    this.#unanswered.delete(connection.number);
    this.budget.leave();
  }

  #onOpen(number: number): void {
    if (this.#events.opened === undefined || this.#connections.has(number))
      throw new CcError("BAD_REQUEST", "the tunnel's other side opened a connection that it may not");
    if (!this.budget.enter()) return void this.send({ kind: "reset", connection: number, reason: "no-room" });
    const connection = new Connection(number, this);
    this.#connections.set(number, connection);
    this.#events.opened(connection);
  }
}
