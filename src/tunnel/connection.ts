import { freeBuffer } from "../base/index.ts";
import { CREDIT_BYTES_MAX, DATA_BYTES_MAX, type ResetReason, type TunnelFrame } from "./frames.ts";
import type { TunnelSocket } from "./socket.ts";
import { type Budget, FIRST_WINDOW_BYTES, ReceiveWindow } from "./window.ts";

/** What a connection needs of the tunnel that it goes through. */
export type Tunnel = {
  /** False: data waits from now on, until `pump` is called. Everything else may still be sent. */
  send(frame: TunnelFrame): boolean;
  readonly hasRoom: boolean;
  /** Wants `pump` when there is room again. */
  stall(connection: Connection): void;
  /** Both sides know that it is over. */
  forget(connection: Connection): void;
  readonly budget: Budget;
};

/**
 * One connection, seen from one of its two ends. What comes from the socket is sent as far as the other side's credit and
 * the tunnel's room go, and the socket is stopped meanwhile: at most one read of it waits here. What comes from the tunnel is
 * written at once, and credit given back as the system takes it; before the socket is there, it is kept.
 */
export class Connection {
  readonly number: number;
  readonly #tunnel: Tunnel;
  readonly #window: ReceiveWindow;
  #socket: TunnelSocket | undefined;
  #early: Uint8Array[] = [];
  #creditBytes = FIRST_WINDOW_BYTES;
  /** Read from the socket, and not sent yet. */
  #unsent: Uint8Array | undefined;
  #readAll = false;
  #sentEnd = false;
  #gotEnd = false;
  #socketClosed = false;
  #over = false;

  constructor(number: number, tunnel: Tunnel) {
    this.number = number;
    this.#tunnel = tunnel;
    this.#window = new ReceiveWindow(tunnel.budget);
  }

  get over(): boolean {
    return this.#over;
  }

  /** Bytes that lie here, in either direction. */
  get heldBytes(): number {
    return this.#window.heldBytes + (this.#unsent?.length ?? 0);
  }

  /** The container's program is connected; the other side is told. */
  accept(socket: TunnelSocket): void {
    if (!this.#over) this.#tunnel.send({ kind: "opened", connection: this.number });
    this.attach(socket);
  }

  /** The program at this end is connected. */
  attach(socket: TunnelSocket): void {
    if (this.#over) return socket.reset();
    this.#socket = socket;
    socket.listen({ data: (chunk) => this.#read(chunk), end: () => this.#readEnd(), closed: () => this.#closed() });
    for (const chunk of this.#early.splice(0)) this.#write(socket, chunk);
    if (this.#gotEnd) socket.end();
  }

  /** A frame of the other side's. False: it breaks the rules. */
  receive(frame: Exclude<TunnelFrame, { kind: "open" }>): boolean {
    switch (frame.kind) {
      case "data":
        if (this.#gotEnd || !this.#window.received(frame.data.length)) return false;
        if (this.#socket === undefined) this.#early.push(frame.data);
        else this.#write(this.#socket, frame.data);
        return true;
      case "end":
        if (this.#gotEnd) return false;
        this.#gotEnd = true;
        this.#socket?.end();
        return true;
      case "opened":
        return true;
      case "credit":
        this.#creditBytes += frame.bytes;
        if (this.#creditBytes > CREDIT_BYTES_MAX) return false;
        this.pump();
        return true;
      case "reset":
        this.#finish();
        this.#socket?.reset();
        return true;
      default:
        return frame satisfies never;
    }
  }

  /** Ends it from this side. */
  reset(reason: ResetReason): void {
    if (this.#over) return;
    this.#tunnel.send({ kind: "reset", connection: this.number, reason });
    this.abandon();
  }

  /** Ends it without a word to the other side, who is gone. */
  abandon(): void {
    if (this.#over) return;
    this.#finish();
    this.#socket?.reset();
  }

  /** Goes on sending what waits, as far as credit and room go. */
  pump(): void {
    const waiting = this.#unsent;
    if (waiting === undefined || this.#over) return;
    this.#unsent = undefined;
    this.#send(waiting);
    if (this.#unsent !== undefined) return;
    if (this.#readAll) this.#sendEnd();
    else this.#socket?.resume();
  }

  #read(chunk: Uint8Array): void {
    if (this.#over) return;
    if (this.#unsent === undefined) this.#send(chunk);
    // A socket may give what it had read before it was stopped.
    else this.#unsent = Buffer.concat([this.#unsent, chunk]);
    if (this.#unsent !== undefined) this.#socket?.pause();
  }

  #send(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && this.#creditBytes > 0 && this.#tunnel.hasRoom) {
      const data = chunk.subarray(at, at + Math.min(DATA_BYTES_MAX, this.#creditBytes));
      this.#creditBytes -= data.length;
      at += data.length;
      this.#tunnel.send({ kind: "data", connection: this.number, data });
    }
    if (at === chunk.length) return freeBuffer(chunk);
    this.#unsent = chunk.subarray(at);
    if (this.#creditBytes > 0) this.#tunnel.stall(this);
  }

  #readEnd(): void {
    this.#readAll = true;
    // The system tells of the end also while reading is stopped.
    if (this.#unsent === undefined) this.#sendEnd();
  }

  #sendEnd(): void {
    if (this.#over || this.#sentEnd) return;
    this.#sentEnd = true;
    this.#tunnel.send({ kind: "end", connection: this.number });
    if (this.#socketClosed && this.#gotEnd) this.#finish();
  }

  #write(socket: TunnelSocket, data: Uint8Array): void {
    const { length } = data;
    socket.write(data, () => {
      freeBuffer(data);
      if (this.#over) return;
      const bytes = this.#window.taken(length);
      if (bytes > 0 && !this.#gotEnd) this.#tunnel.send({ kind: "credit", connection: this.number, bytes });
    });
  }

  #closed(): void {
    if (this.#over) return;
    this.#socketClosed = true;
    // Ended well by both programs; what was read before and still waits for credit goes out first.
    if (!this.#readAll || !this.#gotEnd) this.reset("broken");
    else if (this.#sentEnd) this.#finish();
  }

  #finish(): void {
    this.#over = true;
    this.#unsent = undefined;
    this.#early = [];
    this.#window.close();
    this.#tunnel.forget(this);
  }
}
