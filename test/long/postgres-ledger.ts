import { setTimeout as pause } from "node:timers/promises";
import { outputOf, type PostgresClient } from "./postgres.ts";

const AGAIN_MS = 200;
const ERRORS_MAX = 100;

/** Rows that one `psql` after the other adds, and those of them that the server said were committed. */
export class LedgerWriter {
  readonly acknowledged: number[] = [];
  /** Perhaps there, perhaps not: the connection broke while they were asked for. */
  readonly inDoubt = new Set<number>();
  readonly errors: string[] = [];
  readonly #client: PostgresClient;
  readonly #writer: number;
  #over = false;
  #ended: Promise<void> | undefined;

  constructor(client: PostgresClient, writer: number) {
    this.#client = client;
    this.#writer = writer;
  }

  start(): void {
    this.#ended = this.#run();
  }

  /** What was begun is finished first. */
  async stop(): Promise<void> {
    this.#over = true;
    await this.#ended;
  }

  async #run(): Promise<void> {
    for (let number = 1; !this.#over; ) {
      const child = this.#client.start("psql", "-XAtq", "-v", "ON_ERROR_STOP=1");
      const { stdin, stdout } = child;
      if (stdout === null || stdin === null) throw new Error("psql has no input or no output");
      // It ends before it has read what it was sent where its connection breaks.
      stdin.on("error", () => undefined);
      const ask = (): void => {
        if (this.#over) stdin.end();
        else stdin.write(`INSERT INTO ledger VALUES (${this.#writer}, ${number}) RETURNING number;\n`);
      };
      let answer = "";
      stdout.on("data", (text: Buffer) => {
        answer += text;
        if (!answer.endsWith("\n")) return;
        this.acknowledged.push(Number(answer));
        answer = "";
        number += 1;
        ask();
      });
      ask();
      const { code, stderr } = await outputOf(child);
      if (code === 0) continue;
      this.inDoubt.add(number);
      number += 1;
      if (this.errors.length < ERRORS_MAX) this.errors.push(stderr.trim());
      await pause(AGAIN_MS);
    }
  }
}
