/** A router's seconds since it last had no mappings, and when we heard of them. */
export type Epoch = { readonly serverSeconds: number; readonly heardMs: number };

/**
 * Whether a router has kept its mappings between two of its answers (RFC 6887, 8.5): its clock must not have gone back, and must have
 * gone on about as fast as ours. A host that was suspended finds the router's too far ahead, and asks anew, which is right as well.
 */
export function epochGoesOn(before: Epoch, now: Epoch): boolean {
  if (now.serverSeconds + 1 < before.serverSeconds) return false;
  const clientSeconds = (now.heardMs - before.heardMs) / 1_000;
  const serverSeconds = now.serverSeconds - before.serverSeconds;
  return clientSeconds + 2 >= serverSeconds - serverSeconds / 16 && serverSeconds + 2 >= clientSeconds - clientSeconds / 16;
}
