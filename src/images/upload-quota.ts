import { formatSize, ok, type Result, refuse } from "../base/index.ts";

/** What lies here without anybody's need for it: uploads in their first hour. */
export type UnreferencedUploads = { readonly bytes: number; readonly blobs: number };
export type UploadLimits = { readonly uploadBytesMax: number; readonly uploadBlobsMax: number };

/** A few of the largest images that people build. More at once would fill a small host's disk for the hour that uploads stay. */
export const UNREFERENCED_UPLOAD_BYTES_MAX = 32 * 1024 ** 3;
/** Small files cost inodes and memory: some hundred images of some ten layers. */
export const UNREFERENCED_UPLOAD_BLOBS_MAX = 4_096;
/** So long an upload waits for the container that needs it. */
export const UNREFERENCED_UPLOAD_MS_MAX = 3_600_000;

/** Whether so much more may be uploaded here. Asked before bytes travel, and again for each blob. */
export function admitUpload(held: UnreferencedUploads, asked: UnreferencedUploads, limits: UploadLimits): Result<undefined> {
  if (held.bytes + asked.bytes > limits.uploadBytesMax) {
    return refuse(
      "NO_ROOM",
      `${formatSize(asked.bytes)} are more than this host takes of images that no container uses yet: ${formatSize(limits.uploadBytesMax)}, of which ${formatSize(held.bytes)} are taken; run what was pushed, remove it with cc image rm, or wait until it goes after an hour`,
    );
  }
  if (held.blobs + asked.blobs > limits.uploadBlobsMax) {
    return refuse(
      "NO_ROOM",
      `${asked.blobs} layers are more than this host takes of images that no container uses yet: ${limits.uploadBlobsMax}, of which ${held.blobs} are taken; remove some with cc image rm, or wait until they go after an hour`,
    );
  }
  return ok(undefined);
}
