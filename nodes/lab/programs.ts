import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CcError, shellQuote } from "../../src/base/index.ts";
import type { LabLayout } from "./layout.ts";

/** The two programs of the cloud, as words to run them with. */
export type Programs = { readonly cc: readonly string[]; readonly peer: readonly string[] };

/** Names under which the command line is found in the lab's own folder. `ccloud` is the same where `cc` is the compiler. */
const CC_NAMES = ["cc", "ccloud"];

/** What was built; or, to try the lab itself, the programs in the folder that CC_LAB_PROGRAMS names. */
export function findPrograms(top: string): Programs {
  const given = process.env["CC_LAB_PROGRAMS"];
  if (given !== undefined && given !== "") return { cc: [join(given, "cc")], peer: [join(given, "cc-peer")] };
  const [cc, peer] = [join(top, "cli/bin/cc"), join(top, "dist/nodes/peer/main.js")];
  for (const file of [cc, peer]) if (!existsSync(file)) throw new CcError("NOT_FOUND", `${file} is not there: run npm run build`);
  return { cc: [process.execPath, "--use-openssl-ca", cc], peer: [process.execPath, peer] };
}

/** Small launchers, so that the lab's cc and cc-peer come first on PATH and run on the right Node. */
export function writeLaunchers(layout: LabLayout, programs: Programs): void {
  mkdirSync(layout.bin, { recursive: true });
  const launcher = (words: readonly string[]): string => `#!/bin/sh\nexec ${words.map(shellQuote).join(" ")} "$@"\n`;
  for (const name of CC_NAMES) writeFileSync(join(layout.bin, name), launcher(programs.cc), { mode: 0o755 });
  writeFileSync(join(layout.bin, "cc-peer"), launcher(programs.peer), { mode: 0o755 });
}
