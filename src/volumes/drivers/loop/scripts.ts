import { shellQuote as q } from "../../../base/index.ts";

/**
 * The shell scripts of the driver as text. A command goes on when the peer that began it is killed, so each takes the
 * lock of the volume's folder, which the command inherits: the next peer's commands wait for it.
 */
const LOCK_WAIT_S = 20;
/** Somebody had the lock for longer. */
export const BUSY_EXIT = 75;

function locked(folder: string, lines: readonly string[]): string {
  return [`exec 9<${q(folder)} || exit 1`, `flock -w ${LOCK_WAIT_S} 9 || exit ${BUSY_EXIT}`, ...lines].join("\n");
}

/** Only waits for whoever has the lock. */
export function awaitScript(folder: string): string {
  return locked(folder, []);
}

/**
 * A sparse file becomes an ext4 file system. It holds zeros already, which spares writing inode tables and journal (529
 * MiB of 100 GiB). No share for root: the host's root writes nothing into it, a container's is none.
 */
export function formatScript(folder: string, image: string): string {
  return locked(folder, [`mkfs.ext4 -q -F -b 4096 -m 0 -E nodiscard,lazy_itable_init=1,assume_storage_prezeroed=1 ${q(image)}`]);
}

/**
 * After an error of the disk below nothing more is written, data included: what was synced stays, what was not is
 * reported to whoever syncs it. Without `discard`: deleting stays fast, `fstrim` gives the space back.
 */
const MOUNT_OPTIONS = "loop,nosuid,nodev,errors=remount-ro,data_err=abort";

/** A loop device that another mount namespace still holds is used again by mount(8): two over one file would destroy it. */
export function mountScript(folder: string, image: string, mountPoint: string): string {
  return locked(folder, [`mountpoint -q ${q(mountPoint)} && exit 0`, `mount -i -t ext4 -o ${MOUNT_OPTIONS} ${q(image)} ${q(mountPoint)}`]);
}

export function unmountScript(folder: string, mountPoint: string): string {
  return locked(folder, [`while mountpoint -q ${q(mountPoint)}; do umount ${q(mountPoint)} || exit 1; done`]);
}

/** As a command of its own: of a large file system it takes minutes. Ends with e2fsck's code: below 4, all is well now. */
export function checkCommand(folder: string, image: string): readonly string[] {
  const script = locked(folder, [`[ -z "$(losetup -n -O NAME -j ${q(image)})" ] || exit 0`, `exec e2fsck -p ${q(image)}`]);
  return ["sh", "-c", script];
}
