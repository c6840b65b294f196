import { posix } from "node:path";
import type { VolumeMount as MountMessage } from "../api/gen/cc/v1/cloud_pb.ts";
import { isVolumeId, ok, type Refusal, type Result, refuse } from "../base/index.ts";
import type { VolumeOwner } from "../volumes/index.ts";
import { shown } from "./shown.ts";
import { SPEC_LIMITS, type VolumeMount } from "./spec.ts";

/** Made by the kernel for each container; what lies over them would hide how it is contained. */
const KERNELS = ["/proc", "/sys", "/dev"];
const CONTROL = /[\u0000-\u001f\u007f]/;

/** The volumes of a request, parents before what lies in them, or the first thing that is wrong. Whether they exist is not asked here. */
export function volumeMounts(messages: readonly Pick<MountMessage, "volume" | "path" | "readOnly">[]): Result<readonly VolumeMount[]> {
  const { volumesMax } = SPEC_LIMITS;
  if (messages.length > volumesMax) return refuse("BAD_REQUEST", `${messages.length} volumes were given, at most ${volumesMax} are allowed`);
  const mounts: VolumeMount[] = [];
  for (const { volume, path, readOnly } of messages) {
    if (!isVolumeId(volume)) return refuse("BAD_REQUEST", `"${shown(volume)}" is not a volume's id; cc volume list shows them`);
    const refusal = refusePath(path);
    if (refusal !== undefined) return refusal;
    if (mounts.some((other) => other.path === path)) return refuse("BAD_REQUEST", `two volumes were given for ${path}; give each a path of its own`);
    mounts.push({ id: volume, path, readOnly });
  }
  return ok(inOrder(mounts));
}

/** Of several mounts those that others lie in come first. */
export function inOrder<T extends { readonly path: string }>(mounts: readonly T[]): readonly T[] {
  const depth = (path: string): number => path.split("/").length;
  return mounts.toSorted((a, b) => depth(a.path) - depth(b.path));
}

/** Whether a path inside a container is one of the kernel's own file systems, or in one, or the root. */
export function isKernels(path: string): boolean {
  return path === "/" || KERNELS.some((folder) => path === folder || path.startsWith(`${folder}/`));
}

function refusePath(path: string): Refusal | undefined {
  const { volumePathBytesMax } = SPEC_LIMITS;
  if (!path.startsWith("/")) return refuse("BAD_REQUEST", `the path "${shown(path)}" of a volume is not absolute; begin it with /`);
  if (Buffer.byteLength(path) > volumePathBytesMax || CONTROL.test(path))
    return refuse("BAD_REQUEST", `the path of a volume has control characters or more than ${volumePathBytesMax} bytes`);
  const plain = posix.normalize(path).replace(/(.)\/$/, "$1");
  if (plain !== path) return refuse("BAD_REQUEST", `the path "${shown(path)}" of a volume has parts that lead nowhere; give "${shown(plain)}"`);
  if (isKernels(path)) return refuse("BAD_REQUEST", `a volume cannot lie at ${shown(path)}: it may not be /, nor in ${KERNELS.join(", ")}`);
  return undefined;
}

/**
 * Whom a fresh volume belongs to, as its container sees it: as the image's directory at that place, so that a program that
 * gives up root finds its own; where there is none, or it is root's, to the user that the container runs as.
 */
export function ownerOfFresh(imageDirectory: VolumeOwner | undefined, user: { readonly uid: number; readonly gid: number }): VolumeOwner {
  if (imageDirectory === undefined) return { uid: user.uid, gid: user.gid, mode: 0o755 };
  return imageDirectory.uid === 0 ? { uid: user.uid, gid: user.gid, mode: imageDirectory.mode } : imageDirectory;
}
