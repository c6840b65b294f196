/**
 * Volumes on one host: ext4 file systems with a size of their own, which containers of this host mount (VolumeDriver).
 *
 * Decisions are pure: `volumeSize` says what sizes there are, `volumeStanding` whether what volumes were promised still
 * fits on the disk, `superblockOf` what a file system says about itself. The driver does it: `loop` keeps each volume in a sparse file.
 *
 * Rejected: formatting when a volume is created (one that was never used takes no room and may go to another host);
 * counting its users in memory (a peer that returns has to know them).
 */
export { inUse } from "./decide.ts";
export * from "./driver.ts";
export * from "./size.ts";
export { VolumeHolder, type VolumeHolderParts } from "./volume-holder.ts";
