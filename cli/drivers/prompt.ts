import { createInterface } from "node:readline";
import { Writable } from "node:stream";

/** Asks on stderr, so that stdout stays for results. A hidden answer is not echoed. */
export function ask(question: string, kind: "shown" | "hidden"): Promise<string> {
  process.stderr.write(question);
  // readline echoes what is typed to its output: a secret gets one that swallows it.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: kind === "hidden" ? silent : process.stderr, terminal: true });
  return new Promise((resolve) => {
    let answer = "";
    reader.once("line", (line) => {
      answer = line.trim();
      reader.close();
    });
    reader.once("SIGINT", () => process.exit(130));
    reader.once("close", () => {
      if (kind === "hidden") process.stderr.write("\n");
      resolve(answer);
    });
  });
}
