import { type ChildProcess, spawn } from "node:child_process";
import type { FromNameServer, NameServerNotice, ToNameServer } from "./messages.ts";

export type NameServerCommand = {
  /** The file of name-server-program, as Node runs it. */
  readonly program: string;
  readonly address: string;
  readonly port: number;
};

export type ChildEvents = {
  readonly onReady: () => void;
  readonly onTaken: (number: number) => void;
  readonly onNotice: (notice: NameServerNotice) => void;
  /** Once, when it is gone. */
  readonly onEnd: (why: string) => void;
};

/** All tables (TABLES_BYTES_MAX) several times over, as they are taken apart. */
const NODE_FLAGS = ["--max-old-space-size=512", "--max-semi-space-size=4"];
const PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STDERR_CHARACTERS_MAX = 1_000;

/** One life of the name server's process. */
export class NameServerChild {
  readonly #child: ChildProcess;
  readonly #events: ChildEvents;
  #lastWords = "";
  #isOver = false;

  constructor({ program, address, port }: NameServerCommand, events: ChildEvents) {
    this.#events = events;
    // The death signal holds until the program gives up being root; from then on it ends when this side of its channel closes.
    const words = ["--no-new-privs", "--pdeathsig", "KILL", process.execPath, ...NODE_FLAGS, program, address, String(port)];
    this.#child = spawn("setpriv", words, {
      cwd: "/",
      env: { PATH: process.env["PATH"] ?? PATH_DEFAULT },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      // Addresses are big numbers, which JSON has not.
      serialization: "advanced",
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.#lastWords = `${this.#lastWords}${chunk.toString()}`.slice(-STDERR_CHARACTERS_MAX);
    });
    this.#child.on("message", (message: FromNameServer) => this.#take(message));
    this.#child.once("error", (error) => this.#end(`it cannot be started (${error.message}); is util-linux installed?`));
    this.#child.once("close", (code, signal) => this.#end(`it ended with ${code ?? signal} ${this.#lastWords}`.trimEnd()));
  }

  /** That it is gone is told by its end. */
  send(message: ToNameServer): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #take(message: FromNameServer): void {
    if (this.#isOver) return;
    if (message.kind === "ready") this.#events.onReady();
    if (message.kind === "taken") this.#events.onTaken(message.number);
    if (message.kind === "notice") this.#events.onNotice(message.notice);
    if (message.kind === "failed") this.#lastWords = whyNot(message.code);
  }

  #end(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.onEnd(why);
  }
}

function whyNot(code: string): string {
  if (code === "EADDRNOTAVAIL") return "no device of this host has its address yet";
  if (code !== "EADDRINUSE") return `it cannot listen (${code})`;
  return "another program of this host listens on its port on all addresses: let that listen on its own addresses only (dnsmasq: bind-dynamic)";
}
