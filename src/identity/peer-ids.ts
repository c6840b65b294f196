import { isPeerId, ok, type PeerId, type Result, refuse } from "../base/index.ts";
import { PUBLIC_KEY_BYTES } from "./crypto.ts";
import { base58, fromBase58 } from "./encodings.ts";

// libp2p peer id specification: identity multihash (0x00, 36 bytes) of the protobuf PublicKey { type: Ed25519, data }.
const HEAD = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const PEER_ID_BYTES = HEAD.length + PUBLIC_KEY_BYTES;

/** The peer id of a raw Ed25519 public key; throws RangeError for another length. */
export function peerIdOf(publicKey: Uint8Array): PeerId {
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw new RangeError(`an Ed25519 public key has ${PUBLIC_KEY_BYTES} bytes`);
  const bytes = new Uint8Array(PEER_ID_BYTES);
  bytes.set(HEAD);
  bytes.set(publicKey, HEAD.length);
  const text = base58(bytes);
  if (!isPeerId(text)) throw new TypeError("a peer's id is not one");
  return text;
}

/** Base58 costs big numbers: remembered, bounded. A peer id is its key, so that nothing here can become stale. */
const PUBLIC_KEYS_MAX = 4_096;
const publicKeys = new Map<string, Result<Uint8Array>>();

/** A peer id is its public key: whoever has the id can check what the peer signed. */
export function publicKeyOfPeer(peer: string): Result<Uint8Array> {
  const known = publicKeys.get(peer);
  if (known !== undefined) return known;
  const read = readPeerId(peer);
  if (!read.ok) return read;
  if (publicKeys.size >= PUBLIC_KEYS_MAX) publicKeys.clear();
  publicKeys.set(peer, read);
  return read;
}

function readPeerId(peer: string): Result<Uint8Array> {
  const bytes = fromBase58(peer, PEER_ID_BYTES);
  if (bytes === undefined || !HEAD.every((byte, at) => bytes[at] === byte))
    return refuse("BAD_REQUEST", "this is not a peer id: it begins with 12D3KooW and has 52 letters");
  return ok(bytes.subarray(HEAD.length));
}
