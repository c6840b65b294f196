import { existsSync } from "node:fs";
import { join } from "node:path";
import { CcError } from "../../src/base/index.ts";

/** The cloud's two programs, and the folder that holds nothing else, fit to stand first on PATH. */
export type Programs = { readonly folder: string; readonly cc: string; readonly peer: string };

/** What was built; or, to try the lab itself, the programs in the folder that CC_LAB_PROGRAMS names. */
export function findPrograms(top: string): Programs {
  const folder = process.env["CC_LAB_PROGRAMS"] || join(top, "dist/bin");
  const programs = { folder, cc: join(folder, "cc"), peer: join(folder, "cc-peer") };
  for (const file of [programs.cc, programs.peer]) if (!existsSync(file)) throw new CcError("NOT_FOUND", `${file} is not there: run npm run build`);
  return programs;
}
