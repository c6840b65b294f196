/**
 * Volumes on one host: ext4 file systems with a size of their own, which containers of this host mount.
 *
 * Decisions are pure: `volumeSize` says what sizes there are, `volumeStanding` whether what volumes were promised still
 * fits on the disk, `nextForFileSystem` whether one must be checked before it is mounted. The service watches the disk and gives
 * free space back. The driver does it: `loop` keeps each volume in a sparse file, formatted when it is first needed, mounted
 * once however many containers have it; who has it lies as files beside the mount, so the peer that returns knows.
 *
 * A disk that others fill cannot be kept from filling. It is said early (no new volume while what was promised does not
 * fit, none attached when hardly anything is left). At the end the kernel stops writing to the volume: what was synced stays,
 * what was not is reported, and the next start of its containers puts it right.
 *
 * Rejected: formatting when a volume is created (one that was never used takes no room and may go to another host);
 * files that take their whole size at once (a terabyte that is promised would have to be bought); freezing volumes while the disk is
 * full (a process that waits for a frozen file system cannot be killed, so its container could not be stopped); mounting
 * with `discard` (deleting becomes slow); copying the image's content into a fresh volume as Docker does (which content
 * would depend on who came first; only its owner and mode are taken over); losetup by itself (mount's own loop
 * devices free themselves with their last mount, also when the peer was killed in between); direct I/O (a quarter of the fsyncs).
 */
export * from "./driver.ts";
export type { VolumeFiles, VolumeHolderParts } from "./holder-parts.ts";
export * from "./size.ts";
export * from "./standing.ts";
export * from "./superblock.ts";
export { VolumeHolder } from "./volume-holder.ts";
export * from "./volume-service.ts";
