import type { CloudClient } from "../src/api/client.ts";
import type { StreamHandle } from "../src/api/client-stream.ts";
import type { StreamEvent } from "../src/api/streams.ts";
import { CcError, formatSize, sleep } from "../src/base/index.ts";
import { systemClock } from "./drivers/clock.ts";
import { type LocalImage, openLocalImage, type SourceBlob } from "./drivers/image-source.ts";
import { usable } from "./failure.ts";
import { parseImageSource } from "./image-source.ts";

export type Pushed = {
  /** For `--image`. */
  readonly reference: string;
  readonly digest: string;
  readonly copies: number;
  readonly blobs: number;
  readonly sentBlobs: number;
  readonly sentBytes: number;
};

/** A peer that dies in the midst of an upload is left for the next one, which is sent what it lacks. */
const ATTEMPTS_MAX = 4;
const RETRY_PAUSE_MS = 1_000;

/** Brings an image of this machine into the mesh: asks what the mesh lacks, and sends that. */
export async function pushImage(
  client: CloudClient,
  text: string,
  options: { readonly name?: string | undefined; readonly note: (text: string) => void; readonly warn: (text: string) => void },
): Promise<Pushed> {
  const image = await openLocalImage(usable(parseImageSource(text)));
  try {
    const reference = `mesh/${options.name ?? image.name}@${image.digest}`;
    const blobs = [...new Map(image.blobs.map((blob) => [blob.digest, blob])).values()];
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await pushOnce(client, image, reference, blobs, options);
      } catch (error) {
        if (!(error instanceof CcError) || error.code !== "PEER_UNREACHABLE" || attempt === ATTEMPTS_MAX) throw error;
        options.warn(`the upload was cut off (${error.message}); it goes on with what is missing`);
        await sleep(systemClock, RETRY_PAUSE_MS);
      }
    }
  } finally {
    image.close();
  }
}

async function pushOnce(
  client: CloudClient,
  image: LocalImage,
  reference: string,
  blobs: readonly SourceBlob[],
  options: { readonly note: (text: string) => void; readonly warn: (text: string) => void },
): Promise<Pushed> {
  const { missing } = await client.call("MissingBlobs", { blobs: blobs.map(({ digest, sizeBytes }) => ({ digest, sizeBytes })) });
  const lacking = new Set(missing);
  const toSend = blobs.filter(({ digest }) => lacking.has(digest));
  const sentBytes = toSend.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (process.stderr.isTTY) options.note(`${image.name}: ${toSend.length} of ${blobs.length} parts to send, ${formatSize(sentBytes)}`);
  let copies: number | undefined;
  let failure: unknown;
  let over = false;
  const onEvent = (event: StreamEvent): void => {
    if (event.type === "pushed") copies = Number(event.copies);
    if (event.type === "warning") options.warn(String(event.text));
  };
  const send = async (handle: StreamHandle): Promise<void> => {
    for (const blob of toSend) {
      handle.blob(blob.digest, blob.sizeBytes);
      for await (const chunk of blob.read()) {
        if (over) return;
        await handle.input(chunk);
      }
    }
    handle.inputEnd();
  };
  const committed = (handle: StreamHandle): void => {
    send(handle).catch((error: unknown) => {
      failure = new CcError("BAD_REQUEST", `the image cannot be read any more (${error instanceof Error ? error.message : String(error)})`, { cause: error });
      handle.detach();
    });
  };
  try {
    await client.stream("Push", { image: reference }, { event: onEvent, output: () => true, committed });
  } finally {
    over = true;
  }
  if (failure !== undefined) throw failure;
  if (copies === undefined) throw new CcError("OUTCOME_UNKNOWN", "the peer ended the upload without saying that it has the image; push it again");
  return { reference, digest: image.digest, copies, blobs: blobs.length, sentBlobs: toSend.length, sentBytes };
}
