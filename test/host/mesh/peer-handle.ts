import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { PeerId } from "../../../src/base/index.ts";
import type { Order } from "./peer-process.ts";

export type Look = {
  readonly connected: readonly PeerId[];
  readonly condemned: readonly PeerId[];
  readonly heard: readonly { readonly text: string; readonly from: string; readonly delayMs: number }[];
  readonly streams: { readonly sentBytes: number; readonly gotBytes: number; readonly pausedRssBytes: number };
  readonly standings: Readonly<Record<string, string>>;
  readonly offsetMs: number;
  readonly rssBytes: number;
  readonly cpuMs: number;
};

/** A peer's process, from the test's side. */
export class PeerHandle {
  readonly #seed = randomBytes(32).toString("hex");
  #child: ChildProcess | undefined;
  #starts = 0;
  #lastId = 0;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  id: PeerId = "" as PeerId;
  addresses: readonly string[] = [];

  async start(): Promise<void> {
    this.#starts += 1;
    const port = this.addresses[0]?.split("/").at(-1) ?? "0";
    const child = fork(new URL(process.env["MESH_TEST_PROGRAM"] ?? "./peer-process.ts", import.meta.url), {
      env: { ...process.env, MESH_TEST_SEED: this.#seed, MESH_TEST_START: String(this.#starts), MESH_TEST_PORT: port },
    });
    this.#child = child;
    child.on("message", (message: { id: number; result?: unknown; error?: string }) => {
      const waiter = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error === undefined) waiter?.resolve(message.result);
      else waiter?.reject(new Error(message.error));
    });
    child.on("exit", (exitCode, signal) => {
      for (const waiter of this.#waiting.values()) waiter.reject(new Error(`the peer ended (${exitCode ?? signal})`));
      this.#waiting.clear();
    });
    const { self, addresses } = await this.ask<{ self: PeerId; addresses: string[] }>({ do: "start" });
    this.id = self;
    this.addresses = addresses;
  }

  ask<T = undefined>(order: Order): Promise<T> {
    const id = ++this.#lastId;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (value) => resolve(value as T), reject });
      this.#child?.send({ id, order });
    });
  }

  look(): Promise<Look> {
    return this.ask<Look>({ do: "look" });
  }

  /** Its process stands still, its connections stay open; and goes on. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Dies without a word. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
}

/** Tells each of `peers` who is admitted, and where everyone listens. */
export async function admit(peers: readonly PeerHandle[], members: readonly PeerHandle[]): Promise<void> {
  const addresses = Object.fromEntries(members.map((member) => [member.id, member.addresses]));
  await Promise.all(peers.map((peer) => peer.ask({ do: "members", members: members.map((member) => member.id), addresses })));
}

/** Polls until `done`; gives the milliseconds it took, or undefined after `limitMs`. */
export async function until(done: () => Promise<boolean>, limitMs: number): Promise<number | undefined> {
  const startMs = performance.now();
  while (performance.now() - startMs < limitMs) {
    if (await done()) return Math.round(performance.now() - startMs);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return undefined;
}
