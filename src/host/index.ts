/**
 * The real machine behind the ports of base, and the one user namespace that a host's containers share.
 *
 * Commands: `createCommandRunner` spawns a program without a shell, in a process group of its own, with a limit in
 * time and output. `createShellHelper` keeps one /bin/sh and feeds it scripts, because spawn blocks Node's loop while
 * it copies page tables (1 ms at 50 MB, 38 ms at 1 GB), a kept shell costs 1 ms at any size. `createPerlHelper` keeps
 * a program of ours that works in other network namespaces. All pass on a
 * short list of environment variables only, so that a secret in the peer's environment reaches no other program.
 * `startChildProgram` runs a module of ours in a process of its own and asks it things.
 * Files: `writeFileDurably` replaces a file so that a power cut leaves the old or the new one.
 * User namespace: one per host for all its containers, made once and pinned by a bind mount of its ns file, so that
 * layers are unpacked with the owners that containers see, and a returning peer finds the namespace of running ones.
 * Mounts and loop devices are read from the kernel, never remembered.
 * Log: pino, JSON lines on stderr, secret-looking fields hidden whoever logs them.
 *
 * Rejected: execa and zx (what we need is less than their surface), pino's own redaction (it wants every path listed
 * beforehand, ours goes by the name of the field at any depth), unique temporary names for files (a killed writer
 * would leave one more each time), a user namespace per container (each would
 * need its own copy or idmapped view of every layer), lock files (level locks the data folder of a peer already).
 */
export { answerParent, type ChildProgram, startChildProgram } from "./child-program.ts";
export { systemClock } from "./clock.ts";
export { createCommandRunner, errorCode, type StreamingCommandRunner } from "./command-runner.ts";
export { makeFolderDurably, removeFileDurably, syncFolder, writeFileDurably } from "./durable-file.ts";
export { createLogger, type LogLevel } from "./logger.ts";
export { loopsOver, type MountPoint, mountsIn } from "./mounts.ts";
export { createPerlHelper, SETNS } from "./perl-helper.ts";
export { systemRandom } from "./random.ts";
export { redact } from "./redact.ts";
export { createShellHelper } from "./shell-helper.ts";
export { sparseFile } from "./sparse-file.ts";
export { createUserNamespacePin, DEFAULT_ID_RANGE, type IdMap, type UserNamespaceInit, type UserNamespacePin } from "./user-namespace.ts";
