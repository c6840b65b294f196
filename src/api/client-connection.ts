import { ok, type PeerId, type Result, refuse, type Zone } from "../base/index.ts";

/** Where a peer can be reached: over TLS, or on the host itself through the peer's Unix socket. */
export type Endpoint =
  | { readonly kind: "tls"; readonly url: string; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly url: string; readonly path: string };

const ENDPOINTS_MAX = 64;
const DEFAULT_PORT = 8443;

function parseEndpoint(text: string): Result<Endpoint> {
  const unix = /^unix:(?:\/\/)?(\/.*)$/.exec(text);
  if (unix?.[1] !== undefined) return ok({ kind: "unix", url: text, path: unix[1] });
  const withScheme = text.includes("://") ? text : `https://${text}`;
  if (!URL.canParse(withScheme)) return refuse("BAD_USAGE", `"${text}" is not an endpoint; give https://HOST:PORT, several separated by commas`);
  const url = new URL(withScheme);
  if (url.protocol !== "https:") return refuse("BAD_USAGE", `"${text}" is not an endpoint: only https:// (or unix:/PATH on the host itself) reaches a peer`);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "" || url.pathname !== "/" || url.hostname === "") {
    return refuse("BAD_USAGE", `"${text}" is not an endpoint; give https://HOST:PORT and nothing behind it`);
  }
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  // A URL drops https's own port 443 when it is written out; without any port, a peer's own is meant.
  const explicit = /:443\/?$/.test(withScheme);
  const port = url.port === "" ? (explicit ? 443 : DEFAULT_PORT) : Number(url.port);
  return ok({ kind: "tls", url: `https://${url.hostname}:${port}`, host, port });
}

/** Endpoints from `https://a:8443,https://b:8443`; each once, in the order given. */
export function parseEndpoints(text: string): Result<readonly Endpoint[]> {
  const found = new Map<string, Endpoint>();
  for (const part of text.split(",")) {
    if (part.trim() === "") continue;
    const endpoint = parseEndpoint(part.trim());
    if (!endpoint.ok) return endpoint;
    found.set(endpoint.value.url, endpoint.value);
  }
  if (found.size === 0) return refuse("BAD_USAGE", "no endpoint given; set CC_ENDPOINT_URL to https://HOST:PORT of any peer, or run cc login");
  if (found.size > ENDPOINTS_MAX) return refuse("BAD_USAGE", `${found.size} endpoints are more than the ${ENDPOINTS_MAX} that are tried`);
  return ok([...found.values()]);
}

export type ConnectionListener = {
  /** Nobody else knows the chunk: it may be freed. */
  data(chunk: Uint8Array): void;
  /** Once, at the end: by the peer (no error), or by a fault. */
  end(error: Error | undefined): void;
};

export type ProvenPeer = { readonly peerId: PeerId; readonly zone: Zone };

/** One byte stream to one peer, which has proven who it is before anything was sent. */
export interface Connection {
  /** Whom the certificate proves it to be; undefined on a Unix socket, where the file's owner is the proof. */
  readonly peer: ProvenPeer | undefined;
  /** True once nothing more can be sent. */
  readonly ended: boolean;
  /** False: write no more before `drained()`. The bytes are the connection's from now on, which frees them once the system has them. */
  write(bytes: Uint8Array): boolean;
  /** Resolves when there is room again, or when the connection has ended. */
  drained(): Promise<void>;
  /** Replaces the listener; what came in between is given to it at once. */
  listen(listener: ConnectionListener): void;
  pause(): void;
  resume(): void;
  close(): void;
}

/** Makes connections. Throws PEER_UNREACHABLE or, before a byte is sent, WRONG_MESH or NOT_A_MEMBER. */
export interface Dialer {
  dial(endpoint: Endpoint): Promise<Connection>;
}
