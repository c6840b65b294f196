import { CcError, refuse } from "../../src/base/index.ts";
import type { ImageLibrary } from "../../src/images/index.ts";

/** Nobody brings images into a simulated mesh, and none is collected: what was pulled stays, and no host has blobs for another. */
export const NO_UPLOADS: ImageLibrary = {
  blobs: {
    have: async () => new Map(),
    text: async () => undefined,
    read: () => {
      throw new CcError("NOT_FOUND", "the simulated host has no blobs");
    },
    receive: () => Promise.reject(new CcError("NO_ROOM", "the simulated host takes no blobs")),
  },
  limits: { uploadBytesMax: 0, uploadBlobsMax: 0, unusedMsMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY },
  unreferenced: async () => ({ bytes: 0, blobs: 0 }),
  touch: async () => undefined,
  hold: async () => refuse("NO_ROOM", "the simulated host takes no uploads"),
  isWhole: async () => false,
  list: async () => [],
  remove: async () => undefined,
  collect: async () => [],
};
