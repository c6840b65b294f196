/**
 * A gRPC client: lists the containers of a mesh and runs one more, with any peer.
 *
 *   node examples/grpc-client.ts IMAGE [COMMAND...]     # with CC_ENDPOINT_URL, CC_ACCESS_TOKEN and CC_SECRET_KEY as for cc
 *
 * Two things are not as with other gRPC servers. The peer's certificate is its own: it is checked by the chain inside it, up
 * to the root of the mesh that the access token names, before a byte is sent. And every request is signed with the user's key
 * (RFC 9421 over RFC 9530's Content-Digest): what is signed are the exact bytes of the body, gRPC's five bytes before the
 * message included, and the message itself names its call, the mesh and the addressed peer.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AddressingSchema, Cloud } from "../src/api/gen/cc/v1/cloud_pb.ts";
import { type AccessToken, parseAccessToken, parseSecretKey, requestHeaders, type Signer, signRequest, verifyPeerCertificate } from "../src/identity/index.ts";

const CONNECT_MS = 3_000;

/** Connects to the peer and gives its id once its certificate has proven it. Nothing is sent to anybody else. */
function connectToPeer(endpoint: URL, token: AccessToken): Promise<{ readonly socket: TLSSocket; readonly peer: string }> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: endpoint.hostname,
      port: Number(endpoint.port || 443),
      // Whom it belongs to is decided below by its chain, not by names and authorities.
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["h2"],
      timeout: CONNECT_MS,
    });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.once("error", fail);
    socket.once("timeout", () => fail(new Error(`${endpoint.href} does not answer`)));
    socket.once("secureConnect", () => {
      const certificate = socket.getPeerX509Certificate();
      const spki = certificate?.publicKey.export({ type: "spki", format: "der" });
      const proven = verifyPeerCertificate(certificate?.subjectAltName ?? "", spki ?? new Uint8Array(), token.meshId);
      if (!proven.ok) return fail(new Error(`${proven.code}: ${proven.message}; nothing was sent`));
      socket.setTimeout(0);
      resolve({ socket, peer: proven.value.peerId });
    });
  });
}

/** Addresses and signs every request. Retries must come through here again: a signature is good once. */
function signing(token: AccessToken, signer: Signer, peer: string): Interceptor {
  return (next) => async (request) => {
    if (request.stream) throw new Error("the contract has unary calls only; byte streams are WebSockets");
    const message = Object.assign(request.message, { to: create(AddressingSchema, { call: request.method.name, mesh: token.meshId, peer }) });
    const bytes = toBinary(request.method.input, message);
    const head = Buffer.alloc(5); // not compressed, and how long
    head.writeUInt32BE(bytes.length, 1);
    const signed = signRequest({
      body: Buffer.concat([head, bytes]),
      keyId: token.keyId,
      signer,
      createdS: Math.floor(Date.now() / 1_000),
      nonce: randomBytes(16).toString("base64url"),
    });
    for (const [name, value] of Object.entries(requestHeaders(signed))) request.header.set(name, value);
    return next(request);
  };
}

function setting(name: string): string {
  const value = process.env[name] ?? "";
  if (value === "") throw new Error(`${name} is not set`);
  return value.startsWith("@") ? readFileSync(value.slice(1), "utf8").trim() : value;
}

const token = parseAccessToken(setting("CC_ACCESS_TOKEN"));
const signer = parseSecretKey(setting("CC_SECRET_KEY"));
if (!token.ok || !signer.ok) throw new Error("CC_ACCESS_TOKEN or CC_SECRET_KEY is not one");
const [image = "alpine", ...command] = process.argv.slice(2);
const endpoint = new URL(setting("CC_ENDPOINT_URL").split(",")[0] ?? "");
const { socket, peer } = await connectToPeer(endpoint, token.value);
const cloud = createClient(
  Cloud,
  createGrpcTransport({
    baseUrl: endpoint.origin,
    nodeOptions: { createConnection: () => socket },
    interceptors: [signing(token.value, signer.value, peer)],
    defaultTimeoutMs: 20_000,
  }),
);

const { containers } = await cloud.listContainers({ all: true });
for (const { id, name, phase, hostName } of containers) console.log(`${id}  ${name || "-"}  ${phase}  on ${hostName}`);
// The token makes a retry the same container; it may be sent to any peer.
const ran = await cloud.run({ token: randomBytes(18).toString("base64url"), spec: { image, command } });
console.log(`ran ${ran.id} on ${ran.host}`);
socket.destroy();
