import type { Socket } from "node:net";
import type { ExecChunk } from "../../runtime.ts";

/** Once the process has ended, a pipe that only its background holds open is read until it is silent for so long, ... */
const SILENT_MS = 200;
/** ... or so much has come: more than a pipe can have held. */
const LATE_BYTES_MAX = 1024 ** 2;

type Pipe = { readonly stream: ExecChunk["stream"]; readonly socket: Socket; open: boolean; waiting: Buffer | undefined };

/** The two output pipes of a process, each read a chunk ahead of its reader and no more. */
export class ExecOutput {
  readonly #pipes: readonly Pipe[];
  readonly #onFirstError: () => Promise<boolean>;
  #wake: (() => void) | undefined;
  #processEnded = false;
  #lateBytes = 0;
  #silence: NodeJS.Timeout | undefined;

  /** `onFirstError` is asked before the first chunk of stderr is given away: false, and nothing of it is. */
  constructor(stdout: Socket, stderr: Socket, onFirstError: () => Promise<boolean>) {
    this.#onFirstError = onFirstError;
    this.#pipes = [
      { stream: "stdout", socket: stdout, open: true, waiting: undefined },
      { stream: "stderr", socket: stderr, open: true, waiting: undefined },
    ];
    for (const pipe of this.#pipes) {
      const { socket } = pipe;
      socket.on("data", (chunk: Buffer) => {
        socket.pause();
        pipe.waiting = chunk;
        if (this.#processEnded) this.#lateBytes += chunk.length;
        this.#wake?.();
      });
      // A pipe's own failure and its end are the same to its reader.
      socket.on("error", () => undefined);
      socket.on("close", () => {
        pipe.open = false;
        this.#wake?.();
      });
    }
  }

  /** The process has ended: what the pipes hold is still given, then they are closed, whoever else has them. */
  processEnded(): void {
    this.#processEnded = true;
    this.#listenForSilence();
  }

  destroy(): void {
    clearTimeout(this.#silence);
    for (const { socket } of this.#pipes) socket.destroy();
  }

  async *chunks(): AsyncGenerator<ExecChunk> {
    let errors: "unseen" | "given" | "withheld" = "unseen";
    try {
      for (;;) {
        const pipe = this.#pipes.find(({ waiting }) => waiting !== undefined);
        if (pipe?.waiting !== undefined) {
          const data = pipe.waiting;
          pipe.waiting = undefined;
          if (pipe.stream === "stderr" && errors === "unseen") errors = (await this.#onFirstError()) ? "given" : "withheld";
          if (pipe.stream === "stdout" || errors === "given") yield { stream: pipe.stream, data };
          if (this.#lateBytes > LATE_BYTES_MAX) return;
          pipe.socket.resume();
          if (this.#processEnded) this.#listenForSilence();
        } else if (this.#pipes.every(({ open }) => !open)) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
        }
      }
    } finally {
      this.destroy();
    }
  }

  #listenForSilence(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      // What waits for a slow reader is no silence.
      if (this.#pipes.every(({ waiting }) => waiting === undefined)) this.destroy();
    }, SILENT_MS);
  }
}
