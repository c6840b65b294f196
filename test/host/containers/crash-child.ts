import { makeScene } from "./harness.ts";

/**
 * A peer that will be killed: takes orders as lines on its standard input (`start ID TOKEN SCRIPT`, `stop ID`,
 * `settle ID`, `remove ID`, `exec ID - SCRIPT`), works on all of them at once, and says `done ...` after each.
 */
const [folder = ""] = process.argv.slice(2);
const scene = await makeScene({ folder });
const runtime = await scene.open();
process.stdout.write("ready\n");
let rest = "";
process.stdin.on("data", (chunk: Buffer) => {
  const lines = (rest + chunk.toString()).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) void order(line);
});

async function order(line: string): Promise<void> {
  const [what = "", id = "", token = "", ...words] = line.split(" ");
  if (!id.startsWith("c")) return;
  const container = scene.spec(id as Parameters<typeof scene.spec>[0], { command: ["sh", "-c", words.join(" ")] });
  try {
    if (what === "start") await runtime.start(container, scene.image, token, new AbortController().signal);
    if (what === "stop") await runtime.kill(container.id, "SIGKILL");
    if (what === "settle") await runtime.settle(container.id);
    if (what === "exec")
      await runtime.exec(container.id, { command: ["sh", "-c", words.join(" ")], env: {}, user: "", dir: "", stdin: true }, new AbortController().signal);
    if (what === "remove") await runtime.remove(container.id);
    process.stdout.write(`done ${what} ${id}\n`);
  } catch (error) {
    process.stdout.write(`failed ${what} ${id} ${String(error)}\n`);
  }
}
