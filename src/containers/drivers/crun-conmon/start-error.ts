import { CcError } from "../../../base/index.ts";

/** As crun 1.8 (Debian 12) and crun 1.21 (Debian 13) say it. */
const NOT_FOUND = /executable file .* not found|open executable: (No such file|Not a directory)/i;
const NOT_EXECUTABLE =
  /open executable|exists but it is not executable|is not a regular file|exec(ve)?[^:]*: (Permission denied|Exec format error|Is a directory|No such file)/i;

/** crun's words about a create or start that failed, as what they mean. `word`: the command's first. */
export function startError(output: string, word: string): CcError {
  const text = output.replaceAll("\\n", " ").replace(/\s+/g, " ").trim();
  if (NOT_FOUND.test(text)) return commandNotFound(word);
  if (NOT_EXECUTABLE.test(text)) return commandNotExecutable(word);
  return new CcError("CONTAINER_FAILED", `the container could not be started: ${text.slice(0, 500)}`);
}

export function commandNotFound(word: string): CcError {
  return new CcError("COMMAND_NOT_FOUND", `the image has no command "${word}"; give one that it has, or its full path`);
}

export function commandNotExecutable(word: string): CcError {
  return new CcError(
    "COMMAND_NOT_EXECUTABLE",
    `"${word}" is in the image but cannot be executed; is it a program for this machine, with the right to execute?`,
  );
}

/** The same about one more process in a running container. */
export function execError(output: string, word: string): CcError {
  const text = output.replace(/\s+/g, " ").trim();
  if (/^chdir\b/i.test(text)) return new CcError("BAD_REQUEST", "--dir names no directory of the container; give one that it has");
  if (/Argument list too long/i.test(text)) return new CcError("TOO_LARGE", "the command and its environment are longer than a program can be given");
  const error = startError(text, word);
  return error.code === "CONTAINER_FAILED"
    ? new CcError("CONTAINER_FAILED", `the command could not be started in the container: ${text.slice(0, 500)}`)
    : error;
}
