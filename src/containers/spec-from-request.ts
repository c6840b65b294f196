import { toBinary } from "@bufbuild/protobuf";
import { ContainerSpecSchema, type ContainerSpec as SpecMessage } from "../api/gen/cc/v1/cloud_pb.ts";
import { type ContainerId, formatSize, isName, ok, type Refusal, type Result, refuse } from "../base/index.ts";
import { shown } from "./shown.ts";
import { type ContainerSpec, type RestartPolicy, SPEC_DEFAULTS, SPEC_LIMITS, signalName } from "./spec.ts";
import { parseUser } from "./user.ts";
import { volumeMounts } from "./volume-mounts.ts";

const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_.-]*$/;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$/;
const CONTROL = /[\u0000-\u001f\u007f]/;
const RESTARTS: ReadonlySet<string> = new Set<RestartPolicy>(["no", "on-failure", "always"]);

/**
 * What a user's message asks for, with every default filled in, or the first thing that is wrong with it. Whether the
 * image's reference can be read is the images' question; `host` and `zone` are placement's; `registry_*` go with the
 * pull and never into a spec.
 */
export function specFromRequest(id: ContainerId, message: SpecMessage): Result<ContainerSpec> {
  const bytes = toBinary(ContainerSpecSchema, message).length;
  if (bytes > SPEC_LIMITS.bytesMax) {
    return refuse(
      "TOO_LARGE",
      `the request describes the container in ${formatSize(bytes)}, at most ${formatSize(SPEC_LIMITS.bytesMax)} fit; put large values into the image or a file`,
    );
  }
  const refusal = refuseTexts(message) ?? refuseEnv(message.env) ?? refuseLabels(message.labels);
  if (refusal !== undefined) return refusal;

  const numbers = {
    memoryBytes: size("--memory", message.memoryBytes, SPEC_DEFAULTS.memoryBytes, SPEC_LIMITS.memoryBytes),
    cpuShares: whole("--cpu", message.cpuShares, SPEC_DEFAULTS.cpuShares, SPEC_LIMITS.cpuShares),
    diskBytes: size("--disk", message.diskBytes, SPEC_DEFAULTS.diskBytes, SPEC_LIMITS.diskBytes),
    pidsMax: whole("pids_max", message.pidsMax, SPEC_DEFAULTS.pidsMax, SPEC_LIMITS.pidsMax),
    stopTimeoutMs: whole("--stop-timeout (in milliseconds)", message.stopTimeoutMs, SPEC_DEFAULTS.stopTimeoutMs, SPEC_LIMITS.stopTimeoutMs),
    logFileBytes: size("--log-size", message.logFileBytes, SPEC_DEFAULTS.logFileBytes, SPEC_LIMITS.logFileBytes),
    logFiles: whole("log_files", message.logFiles, SPEC_DEFAULTS.logFiles, SPEC_LIMITS.logFiles),
    keepEndedMs: whole("keep_ended_ms", message.keepEndedMs, SPEC_DEFAULTS.keepEndedMs, SPEC_LIMITS.keepEndedMs),
  };
  for (const number of Object.values(numbers)) if (!number.ok) return number;
  const volumes = volumeMounts(message.volumes);
  if (!volumes.ok) return volumes;
  const value = (number: Result<number>): number => (number.ok ? number.value : 0);

  return ok({
    id,
    name: message.name,
    image: message.image,
    command: [...message.command],
    env: { ...message.env },
    user: message.user,
    dir: message.dir,
    memoryBytes: value(numbers.memoryBytes),
    cpuShares: value(numbers.cpuShares),
    diskBytes: value(numbers.diskBytes),
    pidsMax: value(numbers.pidsMax),
    labels: { ...message.labels },
    restart: restartPolicy(message.restart),
    readOnly: message.readOnly,
    init: message.init,
    stopSignal: message.stopSignal === "" ? "" : (signalName(message.stopSignal) ?? ""),
    stopTimeoutMs: value(numbers.stopTimeoutMs),
    logFileBytes: value(numbers.logFileBytes),
    logFiles: value(numbers.logFiles),
    stdinOpen: message.stdinOpen,
    removeWhenEnded: message.removeWhenEnded,
    keepEndedMs: value(numbers.keepEndedMs),
    volumes: volumes.value,
  });
}

function restartPolicy(text: string): RestartPolicy {
  return text === "on-failure" || text === "always" ? text : SPEC_DEFAULTS.restart;
}

function refuseTexts(message: SpecMessage): Refusal | undefined {
  const { image, name, command, user, dir, restart, stopSignal } = message;
  if (image === "") return refuse("BAD_REQUEST", "no image was given; say which with --image, for example --image alpine");
  if (Buffer.byteLength(image) > SPEC_LIMITS.imageBytesMax || /\s/.test(image) || CONTROL.test(image)) {
    return refuse(
      "BAD_IMAGE_REFERENCE",
      `the image reference has spaces or more than ${SPEC_LIMITS.imageBytesMax} bytes; give for example alpine or ghcr.io/owner/image:tag`,
    );
  }
  if (name !== "" && !isName(name)) {
    return refuse(
      "BAD_REQUEST",
      `"${shown(name)}" is not a name; use up to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit`,
    );
  }
  if (command.length > SPEC_LIMITS.commandWordsMax)
    return refuse("BAD_REQUEST", `the command has ${command.length} words, at most ${SPEC_LIMITS.commandWordsMax} are allowed`);
  if (command.some((word) => word.includes("\0"))) return refuse("BAD_REQUEST", "a word of the command contains a zero byte, which no program can be given");
  if (command[0] === "") return refuse("BAD_REQUEST", "the command's first word is empty; give a program, or nothing to run the image's own");
  const badUser = parseUser(user);
  if (!badUser.ok) return badUser;
  if (dir !== "" && !dir.startsWith("/")) return refuse("BAD_REQUEST", `--dir "${shown(dir)}" is not absolute; begin it with /`);
  if (dir.includes("\0") || Buffer.byteLength(dir) > SPEC_LIMITS.dirBytesMax)
    return refuse("BAD_REQUEST", `--dir has a zero byte or more than ${SPEC_LIMITS.dirBytesMax} bytes`);
  if (dir.split("/").some((part) => part === "..")) return refuse("BAD_REQUEST", `--dir "${shown(dir)}" contains ".."; give the path that is meant`);
  if (restart !== "" && !RESTARTS.has(restart)) return refuse("BAD_REQUEST", `--restart "${shown(restart)}" is unknown; use no, on-failure or always`);
  if (stopSignal !== "" && signalName(stopSignal) === undefined)
    return refuse("BAD_REQUEST", `"${shown(stopSignal)}" is not a signal; use for example SIGTERM, INT or 15`);
  return undefined;
}

function refuseEnv(env: Readonly<Record<string, string>>): Refusal | undefined {
  const entries = Object.entries(env);
  if (entries.length > SPEC_LIMITS.envMax)
    return refuse("BAD_REQUEST", `${entries.length} environment variables were given, at most ${SPEC_LIMITS.envMax} are allowed`);
  for (const [name, value] of entries) {
    if (!ENV_NAME.test(name) || name.length > SPEC_LIMITS.envNameBytesMax) {
      return refuse("BAD_REQUEST", `"${shown(name)}" is not a name of an environment variable; use letters, digits and _ . -, not beginning with a digit`);
    }
    // Only the name: values may be secrets.
    if (value.includes("\0")) return refuse("BAD_REQUEST", `the value of the environment variable ${name} contains a zero byte`);
  }
  return undefined;
}

function refuseLabels(labels: Readonly<Record<string, string>>): Refusal | undefined {
  const entries = Object.entries(labels);
  if (entries.length > SPEC_LIMITS.labelsMax) return refuse("BAD_REQUEST", `${entries.length} labels were given, at most ${SPEC_LIMITS.labelsMax} are allowed`);
  for (const [key, value] of entries) {
    if (!LABEL_KEY.test(key) || key.length > SPEC_LIMITS.labelKeyBytesMax) {
      return refuse("BAD_REQUEST", `"${shown(key)}" is not a label; use letters, digits and . _ / -, at most ${SPEC_LIMITS.labelKeyBytesMax} of them`);
    }
    if (Buffer.byteLength(value) > SPEC_LIMITS.labelValueBytesMax || CONTROL.test(value)) {
      return refuse("BAD_REQUEST", `the value of the label ${key} has control characters or more than ${SPEC_LIMITS.labelValueBytesMax} bytes`);
    }
  }
  return undefined;
}

/** Zero means not given: the message has no presence for numbers. */
function whole(what: string, given: number, otherwise: number, [min, max]: readonly [number, number]): Result<number> {
  if (given === 0) return ok(otherwise);
  if (Number.isInteger(given) && given >= min && given <= max) return ok(given);
  return refuse("BAD_REQUEST", `${what} is ${given}; give a whole number from ${min} to ${max}`);
}

function size(what: string, given: number, otherwise: number, [min, max]: readonly [number, number]): Result<number> {
  if (given === 0) return ok(otherwise);
  if (Number.isInteger(given) && given >= min && given <= max) return ok(given);
  return refuse("BAD_SIZE", `${what} is ${given} bytes; give whole bytes from ${min} (${formatSize(min)}) to ${formatSize(max)}`);
}
