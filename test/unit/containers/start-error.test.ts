import t from "tap";
import { startError } from "../../../src/containers/drivers/crun-conmon/start-error.ts";

t.test("crun's words, of 1.8 and of 1.21, mean the same", (t) => {
  const said: readonly (readonly [string, string])[] = [
    ["executable file `/bin/none` not found in $PATH: No such file or directory", "COMMAND_NOT_FOUND"],
    ["executable file `none` not found in $PATH: No such file or directory", "COMMAND_NOT_FOUND"],
    ["executable file `/bin/none` not found: No such file or directory", "COMMAND_NOT_FOUND"],
    ["open executable: No such file or directory", "COMMAND_NOT_FOUND"],
    ["open executable: Permission denied", "COMMAND_NOT_EXECUTABLE"],
    ["open executable: Operation not permitted", "COMMAND_NOT_EXECUTABLE"],
    ["the path `/bin/plain` exists but it is not executable: Operation not permitted", "COMMAND_NOT_EXECUTABLE"],
    ["the path `/bin/dir` is not a regular file: Operation not permitted", "COMMAND_NOT_EXECUTABLE"],
    ["exec container process `/bin/xplain`: Exec format error", "COMMAND_NOT_EXECUTABLE"],
    ["exec container process (missing dynamic library?) `/bin/x`: No such file or directory", "COMMAND_NOT_EXECUTABLE"],
    ["mount `/x` to `/y`: Permission denied", "CONTAINER_FAILED"],
    ["", "CONTAINER_FAILED"],
  ];
  for (const [text, code] of said) {
    t.equal(startError(text, "word").code, code, text);
    t.equal(startError(`{"data": -1, "message": "${text}\\n"}`, "word").code, code, "in conmon's JSON");
  }
  t.match(startError("x".repeat(5_000), "word").message, /^.{1,600}$/, "a bounded message");
  t.match(startError("open executable: Permission denied", "run").message, /"run"/);
  t.end();
});
