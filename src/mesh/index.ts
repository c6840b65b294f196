/**
 * The mesh: who is there, and how peers speak with each other.
 *
 * How it works. Between hosts runs libp2p (TCP, noise, yamux); a gater refuses every peer id without a valid
 * certificate, so nothing here answers a stranger. Everyone keeps a connection to everyone (64 hosts), by a redial loop
 * over remembered addresses and, where these fail, the DHT. Over a connection go: gossip (gossipsub, unsigned: records
 * carry their own signatures), calls (gRPC of the contract on one kept HTTP/2 session per pair and direction), and byte
 * streams (length-prefixed frames on a libp2p stream each, bounded both ways). Only the probe, `observe`, goes as the
 * same messages on a kept frame stream of its own: it is made for ever, and as gRPC it was most of an idle peer's load.
 * Liveness is observed: each host probes the others by the `observe` call every 2 s, says in it whom it can't reach,
 * and holds unreachable whom more than half of the reachable observers can't (`verdict.ts`). What does not answer has
 * its connections aborted, because a dead link looks open for minutes. Who did not run for a while withholds its word.
 *
 * The pure parts are at this level: `evidence` (from probes to a word), `verdict` (from words to a standing), `clocks`,
 * `stall`, `redial-delay`, `frame-cutter`, `call-errors`, `turns`. `observer` is the service; it meets the world only
 * through Mesh, Clock and Random, and runs as it is in the simulator. `drivers/libp2p.ts` is the real Mesh; it is
 * imported where the peer is composed, not from here, so that nobody else pays for loading libp2p.
 *
 * Rejected:
 * - A libp2p stream per call instead of HTTP/2 (1.8 to 4.4 ms against 1.3 to 2.3 at the median, 760 against 960 and more
 *   calls a second): probes and awards are small and many; what is large goes over byte streams anyway.
 * - An RPC of our own framing for everything: 0.6 ms of CPU a call instead of 4 (a loaded machine), but the contract
 *   could then not be read by any gRPC tool. If awards need it, `LIGHT_CALLS` in drivers/light-lane.ts is the place.
 * - libp2p's connection monitor: under load its pings time out and abort connections that work.
 * - Membership from the DHT: it never got 50 nodes to know all 50. Admission is the list, the DHT finds addresses.
 * - SWIM's indirect probes: everyone watches everyone, so the others' words come with each probe and need no request.
 * - Phi accrual: it learns what is normal from the past; a quiet home link that turns busy would look like a failure.
 */
export * from "./addresses.ts";
export * from "./liveness.ts";
export * from "./mesh.ts";
export * from "./observer.ts";
