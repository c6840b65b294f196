/** What the tunnels of the bench lead to: `u` takes all that comes and says `k`, `d<bytes>;` sends so many, `e` sends back. */
import { createServer, type Socket } from "node:net";

const block = Buffer.alloc(64 * 1024, 7);

async function send(socket: Socket, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += block.length) if (!socket.write(block)) await new Promise((resolve) => socket.once("drain", resolve));
  socket.end();
}

const [address, port] = process.argv.slice(2);
createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  socket.once("data", (first: Buffer) => {
    const what = first.toString("latin1", 0, 1);
    if (what === "u") socket.on("end", () => socket.end("k")).resume();
    else if (what === "d") void send(socket.resume(), Number(first.toString("latin1", 1).split(";")[0]));
    else {
      socket.write(first.subarray(1));
      socket.pipe(socket);
    }
  });
}).listen({ host: address, port: Number(port), backlog: 1_024 });
process.stdin.on("end", () => process.exit(0)).resume();
