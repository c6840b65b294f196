/**
 * Gives the memory of a buffer back now, and not at some collection. V8 takes 64 MiB in buffers for a reason to collect
 * everything: a peer that carried bulk spent two thirds of its time on that, 30 times a gigabyte. Only for whoever alone
 * knows `bytes`, which are empty afterwards. Must not be what the system still writes.
 */
export function freeBuffer(bytes: Uint8Array): void {
  const { buffer } = bytes;
  // Less than half of what it lies in may be a piece of Node's pool.
  if (buffer instanceof ArrayBuffer && bytes.length * 2 > buffer.byteLength) buffer.transfer(0);
}
