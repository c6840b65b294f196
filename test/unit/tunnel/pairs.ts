import { Multiplexer, type MultiplexerEvents } from "../../../src/tunnel/multiplexer.ts";
import type { SocketEvents, TunnelSocket } from "../../../src/tunnel/socket.ts";
import { Budget } from "../../../src/tunnel/window.ts";

/** A program's end of a connection: what it says is pushed, what it hears is kept; it takes only as fast as it is told to. */
export class FakeSocket implements TunnelSocket {
  readonly heard: Uint8Array[] = [];
  heardEnd = false;
  wasReset = false;
  closed = false;
  paused = false;
  /** While false, what is written waits untaken. */
  takes = true;
  #events: SocketEvents | undefined;
  #said: (Uint8Array | "end")[] = [];
  #untaken: (() => void)[] = [];
  #saidEnd = false;

  say(...what: (Uint8Array | "end")[]): void {
    this.#said.push(...what);
    this.#flow();
  }

  take(): void {
    for (const taken of this.#untaken.splice(0)) taken();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.heard);
  }

  get unsaid(): number {
    return this.#said.length;
  }

  listen(events: SocketEvents): void {
    this.#events = events;
    this.#flow();
  }

  write(chunk: Uint8Array, taken: () => void): void {
    this.heard.push(Uint8Array.from(chunk));
    if (this.takes) queueMicrotask(taken);
    else this.#untaken.push(taken);
  }

  end(): void {
    this.heardEnd = true;
    this.#maybeClose();
  }

  reset(): void {
    if (this.closed) return;
    this.wasReset = true;
    this.closed = true;
    this.#events?.closed();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.#flow();
  }

  #flow(): void {
    // As the system does: the end is told also while reading is stopped.
    while (this.#events !== undefined && !this.closed && (!this.paused || this.#said[0] === "end")) {
      const next = this.#said.shift();
      if (next === undefined) return;
      if (next !== "end") this.#events.data(next);
      else {
        this.#saidEnd = true;
        this.#events.end();
        this.#maybeClose();
      }
    }
  }

  #maybeClose(): void {
    if (!this.heardEnd || !this.#saidEnd || this.closed) return;
    this.closed = true;
    this.#events?.closed();
  }
}

/** One direction of a stream: frames wait in it until they are carried. */
export class Wire {
  readonly frames: Uint8Array[] = [];
  roomFrames = 8;
  full = false;
  send = (...parts: readonly Uint8Array[]): boolean => {
    this.frames.push(Buffer.concat(parts));
    this.full = this.frames.length >= this.roomFrames;
    return !this.full;
  };
}

export type Pair = {
  readonly user: Multiplexer;
  readonly host: Multiplexer;
  readonly toHost: Wire;
  readonly toUser: Wire;
  /** Carries up to so many frames each way; gives whether there were any. */
  carry(count: number): boolean;
  /** Carries, turn by turn, until nothing moves any more. */
  settle(): Promise<void>;
};

/** Both ends of a tunnel, joined by two wires. `program` gives the container's side of each connection. */
export function pair(
  program: () => FakeSocket | undefined,
  options: { readonly userEvents?: MultiplexerEvents; readonly budgets?: readonly [Budget, Budget] } = {},
): Pair {
  const [toHost, toUser] = [new Wire(), new Wire()];
  const [userBudget, hostBudget] = options.budgets ?? [new Budget(), new Budget()];
  const user = new Multiplexer(toHost, userBudget, options.userEvents ?? {});
  const host = new Multiplexer(toUser, hostBudget, {
    opened: (connection) => {
      const socket = program();
      if (socket === undefined) connection.reset("refused");
      else connection.accept(socket);
    },
  });
  const carryOne = (wire: Wire, to: Multiplexer, from: Multiplexer): boolean => {
    const frame = wire.frames.shift();
    if (frame === undefined) return false;
    to.receive(frame);
    if (wire.full && wire.frames.length <= wire.roomFrames / 2) {
      wire.full = false;
      from.drained();
    }
    return true;
  };
  const carry = (count: number): boolean => {
    let moved = false;
    for (let at = 0; at < count; at += 1) moved = [carryOne(toHost, host, user), carryOne(toUser, user, host)].includes(true) || moved;
    return moved;
  };
  return {
    user,
    host,
    toHost,
    toUser,
    carry,
    settle: async () => {
      for (let still = 0; still < 3; ) {
        still = carry(16) ? 0 : still + 1;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    },
  };
}
