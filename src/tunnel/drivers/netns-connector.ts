/**
 * The program that makes connections inside one container's network namespace, and hands each over to the peer as an open
 * socket: no byte of a connection passes through here. Started by netns-dialer.ts under nsenter; it reads nothing but
 * the peer's messages, listens nowhere, and ends with the peer.
 */
import { connect, type Socket } from "node:net";
import { networkInterfaces } from "node:os";

const NOBODY = 65_534;
/** On loopback an answer comes at once; what is silent is filtered. */
const CONNECT_MS = 3_000;
const LOOPBACKS = ["127.0.0.1", "::1"];

// Root was needed to come in here, and for nothing else.
process.setgroups?.([]);
process.setgid?.(NOBODY);
process.setuid?.(NOBODY);

/** Where a program in the container may listen, in the order in which it is looked for. */
function addresses(): string[] {
  const own = Object.values(networkInterfaces()).flatMap((one) => one ?? []);
  const reachable = own.filter(({ internal, address, family }) => !internal && !(family === "IPv6" && address.startsWith("fe80:")));
  return [...LOOPBACKS, ...reachable.map(({ address }) => address)];
}

function connectTo(host: string, port: number): Promise<Socket | string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    // Paused: what the program sends first is the peer's to read.
    socket.pause();
    const fail = (code: string): void => {
      socket.destroy();
      resolve(code);
    };
    socket.setTimeout(CONNECT_MS, () => fail("ETIMEDOUT"));
    socket.once("error", (error: NodeJS.ErrnoException) => fail(error.code ?? "EIO"));
    socket.once("connect", () => {
      // Nobody listens, and the system gave the port itself to this connection's own end: it talks to itself.
      if (socket.localPort === port && socket.localAddress === socket.remoteAddress) return fail("ECONNREFUSED");
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}

async function dial(port: number): Promise<Socket | string> {
  let code = "ECONNREFUSED";
  for (const host of addresses()) {
    const outcome = await connectTo(host, port);
    if (typeof outcome !== "string") return outcome;
    // Without IPv6, ::1 has no route: what the other addresses said is the answer.
    if (outcome !== "EADDRNOTAVAIL" && outcome !== "ENETUNREACH" && outcome !== "EAFNOSUPPORT") code = outcome;
  }
  return code;
}

process.on("disconnect", () => process.exit(0));
process.on("message", (message: { readonly number: number; readonly port: number }) => {
  const { number, port } = message;
  void dial(port).then((outcome) => {
    if (!process.connected) return;
    if (typeof outcome === "string") process.send?.({ number, code: outcome });
    else process.send?.({ number }, outcome, { keepOpen: false });
  });
});
process.send?.({ ready: true });
