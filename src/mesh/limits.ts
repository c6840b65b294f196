/** Bounds of what travels between two peers. Each is a promise to the other side's memory. */

/** One call's request or reply: what the records of one batch may need, and what yamux's read buffer holds whole. */
export const CALL_BYTES_MAX = 4 * 1024 * 1024;
/** Calls to one peer that are under way; further ones wait here, in this host, where they can still be cancelled. */
export const CALLS_IN_FLIGHT_MAX = 64;
/** Calls to one peer that wait for their turn; above it RATE_LIMITED, because waiting longer would only time out. */
export const CALLS_WAITING_MAX = 1_024;
/** Calls of one peer that this host works on at once: twice what an honest peer sends. */
export const CALLS_SERVED_MAX = 2 * CALLS_IN_FLIGHT_MAX;
/** One gossip message: a batch of deltas of 20 ms. */
export const GOSSIP_BYTES_MAX = 1024 * 1024;
/** The StreamOpen message before a stream's frames: it carries a signed request. */
export const OPENING_BYTES_MAX = 1024 * 1024;
/** One frame of a byte stream: 64 KiB and a channel byte or a tunnel's head, as src/api/streams.ts and src/tunnel cut them. */
export const STREAM_FRAME_BYTES_MAX = 64 * 1024 + 8;
/** Frames received that nobody took yet: above the high mark the sender is stopped, below the low one it goes on. */
export const STREAM_QUEUE_HIGH_BYTES = 256 * 1024;
export const STREAM_QUEUE_LOW_BYTES = 64 * 1024;
/** What may be under way on one stream unread by the other side (yamux). */
export const WINDOW_BYTES_MAX = 1024 * 1024;
/** Byte streams open at once per connection and direction (attached outputs, tunnels, blobs). */
export const STREAMS_MAX = 512;
/** Everyone is connected to everyone up to here. */
export const FULL_MESH_HOSTS_MAX = 64;
/** Addresses kept and dialled per peer. */
export const ADDRESSES_PER_PEER_MAX = 8;
