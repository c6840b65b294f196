/** Where an ext4 superblock lies, and how long it is. */
export const SUPERBLOCK = { offset: 1024, bytes: 1024 } as const;

const MAGIC = 0xef53;
const STATE_VALID = 0x1;
const STATE_ERRORS = 0x2;
const INCOMPAT_RECOVER = 0x4;

/**
 * What a file system that nobody has mounted says about itself. `mount`: mounting does (the kernel replays the journal).
 * `check`: it was in use without a journal, met an error, or says nothing that can be read.
 */
export function nextForFileSystem(superblock: Uint8Array): "mount" | "check" {
  if (superblock.length < SUPERBLOCK.bytes) return "check";
  const view = new DataView(superblock.buffer, superblock.byteOffset, superblock.byteLength);
  if (view.getUint16(0x38, true) !== MAGIC) return "check";
  const state = view.getUint16(0x3a, true);
  if ((state & STATE_ERRORS) !== 0) return "check";
  const recovers = (view.getUint32(0x60, true) & INCOMPAT_RECOVER) !== 0;
  return (state & STATE_VALID) !== 0 || recovers ? "mount" : "check";
}
