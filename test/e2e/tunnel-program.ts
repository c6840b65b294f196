/**
 * What tunnels lead to in the tests: run inside a container's network namespace, it does what the first line of a connection
 * says. Listens on the given `address port` pairs, says `ready`, and ends with its standard input.
 */
import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { patternOf } from "./tunnel-pattern.ts";

/** What the last connection that was told `last` heard after its program had ended its half. */
let heard = "";

async function send(socket: Socket, bytes: number): Promise<void> {
  for (const block of patternOf(bytes)) if (!socket.write(block)) await new Promise((resolve) => socket.once("drain", resolve));
  socket.end();
}

function sum(socket: Socket, done: (sum: string) => void): void {
  const hash = createHash("sha256");
  socket.on("data", (chunk: Buffer) => hash.update(chunk));
  socket.on("end", () => done(hash.digest("hex")));
  socket.resume();
}

function serve(socket: Socket, first: Buffer): void {
  const end = first.indexOf(0x0a);
  const [what = "", argument = ""] = first.toString("latin1", 0, end).split(" ");
  socket.unshift(first.subarray(end + 1));
  if (what === "up") sum(socket, (hex) => socket.end(hex));
  else if (what === "down") void send(socket.resume(), Number(argument));
  else if (what === "echo") socket.pipe(socket);
  else if (what === "last") {
    socket.end("bye");
    sum(socket, (hex) => {
      heard = hex;
    });
  } else if (what === "heard") socket.end(heard);
  else if (what === "deaf") socket.pause();
  else socket.destroy();
}

const pairs = process.argv.slice(2);
for (let at = 0; at < pairs.length; at += 2) {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", (first: Buffer) => {
      socket.pause();
      serve(socket, first);
    });
  });
  await new Promise<void>((resolve) => server.listen({ host: pairs[at], port: Number(pairs[at + 1]), ipv6Only: true }, resolve));
}
console.log("ready");
process.stdin.on("end", () => process.exit(0)).resume();
