/** What a connection's owner is told of its socket. */
export type SocketEvents = {
  /** Nobody else knows the chunk: it may be freed. */
  data(chunk: Uint8Array): void;
  /** The other program sends no more; it may still read. */
  end(): void;
  /** Nothing goes either way any more. Last call. */
  closed(): void;
};

/** One TCP connection to a program, on the user's machine or in the container. Told of nothing before `listen`. */
export interface TunnelSocket {
  listen(events: SocketEvents): void;
  /** `taken` is called when the system has it, and the chunk may be freed. */
  write(chunk: Uint8Array, taken: () => void): void;
  /** Sends what was written, then the end. */
  end(): void;
  /** Over at once; the other program sees a reset. */
  reset(): void;
  pause(): void;
  resume(): void;
}
