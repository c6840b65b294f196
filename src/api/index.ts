/**
 * The contract with users and between peers (src/api/proto), and the server that serves it.
 *
 * A call is one HTTPS request whose exact body bytes are signed by its user (RFC 9421 over RFC 9530's Content-Digest).
 * The signed body names its call, the mesh and the addressed peer, so the triple (body, signature input, signature) is
 * all that a record or a passed-on call has to carry for anybody to check it later. Connect decodes what was checked
 * and answers as gRPC, gRPC-Web or JSON. Byte streams (output, later exec and tunnels) are WebSockets on the same port,
 * opened by one signed upgrade.
 *
 * Rejected: bearer tokens (a stolen host would collect its users' keys), mutual TLS for users (signatures must survive
 * being passed on), a second port for streams (one port is one firewall rule), streaming over Connect (its envelope
 * costs more than the process start it would carry, and HTTP/1.1 has no bidirectional stream).
 */
export * from "./calls.ts";
export * from "./drivers/https-server.ts";
export type { ApiServerParts, RequestHeaders } from "./drivers/requests.ts";
export * from "./rate-limit.ts";
export * from "./streams.ts";
