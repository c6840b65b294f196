import { type ChildProcess, spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { Socket } from "node:net";
import { CcError, type Clock, type ContainerId, type Logger } from "../../base/index.ts";
import type { ContainerDialer } from "../serve-container.ts";
import type { TunnelSocket } from "../socket.ts";
import { tcpSocket } from "./tcp-socket.ts";

export type NetnsDialerParts = {
  /** Path of a container's pinned network namespace; gone when it does not run. */
  readonly namespaceOf: (container: ContainerId) => string;
  /** The file of netns-connector, as Node runs it. */
  readonly program: string;
  readonly clock: Clock;
  readonly log: Logger;
};

export interface NetnsDialer extends ContainerDialer {
  close(): void;
}

/** Containers with a connector at once: each costs some 15 MB. */
const CONNECTORS_MAX = 64;
const DIAL_MS = 15_000;
/** A connector that has had nothing to do for so long ends; connections that it made stay. */
const IDLE_MS = 60_000;
/** Small heaps, and no threads for compiling or collecting: it holds a few messages. */
const NODE_FLAGS = ["--max-semi-space-size=1", "--max-old-space-size=32", "--single-threaded"];

const PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

type Answer = { readonly ready?: boolean; readonly number?: number; readonly code?: string };

/**
 * Connects from inside containers' network namespaces, so that servers on their loopback are reached. Node cannot change
 * its namespace, so each container with tunnels has a small program of its own there, which connects and passes the open
 * socket over: the peer reads and writes it itself, without a hop, and a connection costs no process.
 */
export function createNetnsDialer(parts: NetnsDialerParts): NetnsDialer {
  const connectors = new Map<ContainerId, Connector>();

  const release = (container: ContainerId): void => {
    connectors.get(container)?.end();
    connectors.delete(container);
  };

  return {
    async connect(container, port) {
      const path = parts.namespaceOf(container);
      const namespace = await inodeOf(path);
      if (namespace === undefined) throw new CcError("NOT_RUNNING", `container ${container} has no network namespace: it does not run`);
      let connector = connectors.get(container);
      if (connector?.namespace !== namespace || connector.over) {
        release(container);
        if (connectors.size >= CONNECTORS_MAX)
          throw new CcError("RATE_LIMITED", `${CONNECTORS_MAX} containers of this host have tunnels already; try again in a minute`);
        connector = new Connector(parts, path, namespace, (self) => {
          if (connectors.get(container) === self) connectors.delete(container);
        });
        connectors.set(container, connector);
      }
      return connector.dial(port);
    },
    release,
    close: () => {
      for (const container of [...connectors.keys()]) release(container);
    },
  };
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).ino;
  } catch {
    return undefined; // Not there: the container does not run.
  }
}

type Waiting = { readonly take: (socket: Socket) => void; readonly fail: (error: CcError) => void };

class Connector {
  readonly namespace: number;
  readonly #parts: NetnsDialerParts;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onEnd: (self: Connector) => void;
  #last = 0;
  #over = false;
  #cancelIdle: (() => void) | undefined;

  constructor(parts: NetnsDialerParts, path: string, namespace: number, onEnd: (self: Connector) => void) {
    this.#parts = parts;
    this.namespace = namespace;
    this.#onEnd = onEnd;
    // The death signal holds until the program gives up being root; from then on it ends when this side of its channel closes.
    const words = [`--net=${path}`, "setpriv", "--no-new-privs", "--pdeathsig", "KILL", process.execPath, ...NODE_FLAGS, parts.program];
    this.#child = spawn("nsenter", words, { cwd: "/", env: { PATH: process.env["PATH"] ?? PATH_DEFAULT }, stdio: ["ignore", "ignore", "ignore", "ipc"] });
    this.#child.on("message", (answer, handle) => this.#onAnswer(answer as Answer, handle));
    this.#child.once("error", (error) =>
      this.#fail(new CcError("INTERNAL", "the tunnel's connector cannot be started; is util-linux installed?", { cause: error })),
    );
    this.#child.once("exit", (code, signal) => this.#fail(new CcError("INTERNAL", `the tunnel's connector ended (${code ?? signal})`)));
  }

  get over(): boolean {
    return this.#over;
  }

  dial(port: number): Promise<TunnelSocket> {
    this.#cancelIdle?.();
    this.#last += 1;
    const number = this.#last;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        cancel();
        this.#waiting.delete(number);
        if (this.#waiting.size === 0) this.#waitIdle();
      };
      const cancel = this.#parts.clock.after(DIAL_MS, () => fail(new CcError("TIMEOUT", `no connection into the container within ${DIAL_MS / 1_000} s`)));
      const fail = (error: CcError): void => {
        settle();
        reject(error);
      };
      const take = (socket: Socket): void => {
        settle();
        socket.allowHalfOpen = true;
        resolve(tcpSocket(socket));
      };
      this.#waiting.set(number, { take, fail });
      // A channel that is closed says so by the child's exit, too.
      this.#child.send({ number, port }, () => undefined);
    });
  }

  end(): void {
    if (this.#over) return;
    this.#fail(new CcError("NOT_RUNNING", "the container stopped"));
    this.#child.kill("SIGKILL");
  }

  #onAnswer({ number, code }: Answer, handle: unknown): void {
    const waiting = number === undefined ? undefined : this.#waiting.get(number);
    const socket = handle instanceof Socket ? handle : undefined;
    if (waiting === undefined) return void socket?.destroy();
    if (socket !== undefined) return waiting.take(socket);
    if (code === "ECONNREFUSED") return waiting.fail(new CcError("CONNECTION_REFUSED", "nothing listens on that port in the container"));
    waiting.fail(new CcError("HOST_UNREACHABLE", `the port cannot be reached inside the container (${code ?? "no socket came"})`));
  }

  #waitIdle(): void {
    this.#cancelIdle?.();
    if (!this.#over) this.#cancelIdle = this.#parts.clock.after(IDLE_MS, () => this.end());
  }

  #fail(error: CcError): void {
    if (this.#over) return;
    this.#over = true;
    this.#cancelIdle?.();
    this.#onEnd(this);
    for (const waiting of [...this.#waiting.values()]) waiting.fail(error);
  }
}
