import { asCcError, type Logger, type PeerId } from "../base/index.ts";
import type { BlobSource, BlobStore, BlobWanted, ReceiveOptions } from "./blob-store.ts";
import type { Digest } from "./reference.ts";

export type BlobTools = { readonly blobs: BlobStore; readonly source: BlobSource; readonly log: Logger };

/** Hosts that are tried for one blob: a fourth would hardly have what three did not give. */
const HOSTS_TRIED_MAX = 3;
/** Blobs of one image that are on their way at once. */
const BLOBS_AT_ONCE = 3;

/** Brings one blob here from the first of these hosts that gives it. False: none did. Throws NO_ROOM and the signal's reason. */
async function fetchBlob(tools: BlobTools, wanted: BlobWanted, hosts: readonly PeerId[], options: ReceiveOptions): Promise<boolean> {
  const { blobs, source, log } = tools;
  for (const host of hosts.slice(0, HOSTS_TRIED_MAX)) {
    try {
      await blobs.receive(wanted, source.read(host, wanted.digest, options.signal), options);
      return true;
    } catch (error) {
      options.signal.throwIfAborted();
      if (asCcError(error).code === "NO_ROOM") throw error;
      log.warn({ host, blob: wanted.digest, err: error }, "a host did not give a blob that it said it has");
    }
  }
  return false;
}

/** `onBlob` is called for each blob as soon as it is here. */
export type FetchBlobsOptions = ReceiveOptions & { readonly onBlob?: (digest: Digest) => Promise<unknown> };

/**
 * Brings blobs here from hosts that have them, some at a time; those that are here already need nobody. Gives those that
 * no host gave.
 */
export async function fetchBlobs(tools: BlobTools, wanted: readonly BlobWanted[], options: FetchBlobsOptions): Promise<readonly Digest[]> {
  const here = await tools.blobs.have(wanted.map(({ digest }) => digest));
  const missing = [...new Map(wanted.filter(({ digest }) => !here.has(digest)).map((blob) => [blob.digest, blob])).values()];
  if (missing.length === 0) return [];
  const offers = await tools.source.offers(
    missing.map(({ digest }) => digest),
    options.signal,
  );
  const failed: Digest[] = [];
  const waiting = [...missing];
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const work = async (): Promise<void> => {
    for (let blob = waiting.shift(); blob !== undefined; blob = waiting.shift()) {
      if (await fetchBlob(tools, blob, offers.get(blob.digest) ?? [], { ...options, signal })) await options.onBlob?.(blob.digest);
      else failed.push(blob.digest);
    }
  };
  const workers = Array.from({ length: BLOBS_AT_ONCE }, work);
  try {
    await Promise.all(workers);
  } finally {
    stop.abort();
    await Promise.allSettled(workers);
  }
  return failed;
}
