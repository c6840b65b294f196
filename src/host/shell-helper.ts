import { type ShellHelper, shellQuote } from "../base/index.ts";
import { keep } from "./kept-helper.ts";

/**
 * A kept /bin/sh. Each script runs in a subshell, so that `exit`, `cd`, `set -e`, variables and syntax errors end with
 * it; its standard input is /dev/null.
 *
 * What a script leaves in the background must have its output redirected, else it lands in a later script's.
 */
export function createShellHelper(): ShellHelper {
  const kept = keep({
    name: "the shell helper",
    argv: ["sh"],
    feed: (script, mark) => `( eval ${shellQuote(script)} ) 2>&1 </dev/null; printf '\\n${mark} %d\\n' $?\n`,
  });
  return {
    run: async (script, options) => {
      if (script.includes("\0")) throw new TypeError("a script cannot contain a zero byte");
      return kept.run(script, options);
    },
    close: () => kept.close(),
  };
}
