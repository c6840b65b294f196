/**
 * Asks a name server for a name until it has an address: `resolve-program SERVER`, then a name a line on standard input. Answers each with a line
 * of the name and the wall-clock milliseconds of the first answer. Ends with its input.
 */
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { decode, encode } from "dns-packet";

const ASK_EVERY_MS = 2;
const [server = ""] = process.argv.slice(2);
const socket = createSocket("udp4");
let wanted: string | undefined;
let asking: NodeJS.Timeout | undefined;

function ask(): void {
  if (wanted === undefined) return;
  socket.send(encode({ type: "query", id: 1, questions: [{ type: "A", name: wanted }] }), 53, server, () => undefined);
}

socket.on("message", (bytes) => {
  const atMs = performance.timeOrigin + performance.now();
  const { answers = [] } = decode(bytes);
  if (wanted === undefined || !answers.some(({ type, name }) => type === "A" && name === wanted)) return;
  clearInterval(asking);
  console.log(`${wanted} ${atMs}`);
  wanted = undefined;
});
createInterface({ input: process.stdin }).on("line", (line) => {
  wanted = line.trim();
  clearInterval(asking);
  asking = setInterval(ask, ASK_EVERY_MS);
});
process.stdin.once("end", () => process.exit(0));
