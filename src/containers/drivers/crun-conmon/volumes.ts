import { lstat } from "node:fs/promises";
import { CcError } from "../../../base/index.ts";
import type { IdMap } from "../../../host/index.ts";
import type { AttachedVolume, ContainerVolumes, VolumeOwner } from "../../../volumes/index.ts";
import type { BoundVolume } from "../../bundle.ts";
import type { ContainerSpec, VolumeMount } from "../../spec.ts";
import { inOrder, isKernels, ownerOfFresh } from "../../volume-mounts.ts";
import { RootFiles } from "./root-files.ts";

export type MountedVolume = VolumeMount & AttachedVolume;

/** Has every volume of the container mounted on the host, one after the other: when it fails, nothing is at work any more. */
export async function attachVolumes(volumes: ContainerVolumes, spec: ContainerSpec): Promise<readonly MountedVolume[]> {
  const mounted: MountedVolume[] = [];
  for (const mount of spec.volumes) mounted.push({ ...mount, ...(await volumes.attach(mount.id, spec.id)) });
  return mounted;
}

export type PlaceVolumes = {
  readonly volumes: ContainerVolumes;
  readonly mounted: readonly MountedVolume[];
  readonly root: RootFiles;
  readonly user: { readonly uid: number; readonly gid: number };
  readonly uidMap: IdMap;
  readonly gidMap: IdMap;
};

/**
 * Finds the place of each volume in the container's root file system, makes the directory where the image has none (in
 * the writable layer, which a read-only container has too), and gives fresh volumes their owners. Links of the image are
 * followed inside it only.
 */
export async function placeVolumes(input: PlaceVolumes): Promise<readonly BoundVolume[]> {
  const { volumes, mounted, root, user } = input;
  const placed: { readonly asked: string; readonly bound: BoundVolume }[] = [];
  for (const { id, path, mountPoint, readOnly, fresh } of mounted) {
    const around = placed.find(({ asked }) => path.startsWith(`${asked}/`));
    const place = around === undefined ? await makePlace(input, path) : await placeInVolume(around.bound, path.slice(around.asked.length));
    if (placed.some(({ bound }) => bound.path === place))
      throw new CcError("BAD_REQUEST", `two volumes come to lie at ${place} by links of the image; give each a path of its own`);
    if (fresh) await volumes.takeOwner(id, ownerOfFresh(around === undefined ? await ownerIn(input, root, place) : undefined, user));
    placed.push({ asked: path, bound: { source: mountPoint, path: place, readOnly } });
  }
  return inOrder(placed.map(({ bound }) => bound));
}

/** The place free of links, with a directory there. */
async function makePlace({ root, uidMap, gidMap }: PlaceVolumes, path: string): Promise<string> {
  const place = await root.placeOf(path);
  if (place !== undefined && isKernels(place)) throw new CcError("BAD_REQUEST", `a volume cannot lie at ${path}: in the image that is ${place}`);
  const owner = { uid: uidMap.hostId, gid: gidMap.hostId };
  return root.makeDirectory(path, { ...owner, rootUid: owner.uid, rootGid: owner.gid }, `the volume's path ${path}`);
}

/** crun makes the directory. What another container wrote there is to lead nowhere else. */
async function placeInVolume(volume: BoundVolume, path: string): Promise<string> {
  const place = `${volume.path}${path}`;
  if ((await new RootFiles(volume.source).placeOf(path)) === path) return place;
  throw new CcError("BAD_REQUEST", `a volume cannot lie at ${place}: a link or a file in the volume at ${volume.path} is in the way`);
}

/** Owner and mode of the image's directory, as the container sees them. */
async function ownerIn({ uidMap, gidMap }: PlaceVolumes, root: RootFiles, path: string): Promise<VolumeOwner | undefined> {
  const found = await root.resolve(path);
  if (found === undefined) return undefined;
  const { uid, gid, mode } = await lstat(found.hostPath);
  const inside = (id: number, map: IdMap): number => id - map.hostId;
  if (inside(uid, uidMap) < 0 || inside(uid, uidMap) >= uidMap.size || inside(gid, gidMap) < 0 || inside(gid, gidMap) >= gidMap.size) return undefined;
  return { uid: inside(uid, uidMap), gid: inside(gid, gidMap), mode: mode & 0o7777 };
}
