/**
 * Tunnels: `cc local-remote serve` leads a local port to a port of a container, wherever it runs.
 *
 * One stream carries all connections of a tunnel (frames.ts): from `cc` over a WebSocket to a peer, and where the container is
 * on another host, on over a libp2p stream with the user's own signed request. The peer in between only carries frames: credit,
 * half-close and resets are between the two ends, which run the same code (multiplexer.ts, connection.ts). Each connection has
 * a window of its own in each direction (window.ts), so a slow reader stops its own connection and nothing else, and what
 * lies in memory is bounded for a connection and for a process. A new connection is one small frame: no handshake, no
 * signature, no process.
 *
 * The container's end (serve-container.ts) is reached from inside the container's network namespace, so that servers on its loopback
 * are, too. Node cannot enter a namespace: a small program there connects, and hands the open socket to the peer
 * (drivers/netns-dialer.ts). A tunnel outlives runs of the container: between them its connections are refused. The user's end
 * (serve-local.ts) makes its link anew when the peer, the host or the way between goes, through any endpoint.
 *
 * Rejected: a WebSocket per connection (a TLS handshake and a signed request each: some 10 ms, and the peer's bound on
 * connections), a stream between peers per connection (the same there, and 512 at most), socat in the namespace (a process
 * per connection and a hop more for every byte), one helper that speaks for all containers (it would need a language that can
 * change its namespace, and would be a way from one container to another), masking by random bytes (two passes over every byte, for a
 * danger that TLS already excludes), and no windows but TCP's own (one slow reader would stop all others).
 */
export { type Bind, formatAddress, parseBind } from "./bind.ts";
export { type ContainerDialer, type RunNow, type Runs, sameRun, serveContainer } from "./serve-container.ts";
export { type LocalListener, type LocalParts, type LocalTarget, serveLocal, type TunnelLink } from "./serve-local.ts";
export { Budget } from "./window.ts";
