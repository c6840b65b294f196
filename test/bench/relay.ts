import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { wallMs } from "./timed-run.ts";

/** Wall-clock times of one connection that went through. */
export type Passage = { readonly acceptedAtMs: number; readonly clientFlightsAtMs: number[] };

/** Stands between `cc` and a peer and notes when what passed; TLS goes through untouched. */
export class Relay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #passages: Passage[] = [];

  constructor(host: string, port: number) {
    this.#server = createServer({ noDelay: true }, (near) => {
      const passage: Passage = { acceptedAtMs: wallMs(), clientFlightsAtMs: [] };
      this.#passages.push(passage);
      const far = connect({ host, port, noDelay: true });
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on("error", () => to.destroy());
        from.once("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
      near.on("data", () => passage.clientFlightsAtMs.push(wallMs()));
      near.pipe(far);
      far.pipe(near);
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(0, "127.0.0.1", () => resolve());
    });
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What passed since the last call. */
  take(): readonly Passage[] {
    const taken = this.#passages;
    this.#passages = [];
    return taken;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
