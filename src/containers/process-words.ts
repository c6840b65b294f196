import { type Refusal, refuse } from "../base/index.ts";
import { shown } from "./shown.ts";
import { SPEC_LIMITS } from "./spec.ts";
import { parseUser } from "./user.ts";

const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_.-]*$/;

/** What a user says of a process, of a container's first and of one more in it. */
export type ProcessWords = {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly dir: string;
};

/** The first thing that is wrong with it, or undefined. */
export function refuseProcess({ command, env, user, dir }: ProcessWords): Refusal | undefined {
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
  return refuseEnv(env);
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
