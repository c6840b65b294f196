import { fileURLToPath } from "node:url";
import { z } from "zod";
import { CcError } from "../../base/index.ts";
import { startChildProgram } from "../../host/index.ts";
import type { BindTask } from "./bind-layer.ts";
import type { UnpackResult, UnpackTask } from "./unpack-layer.ts";

/** What the program is asked. */
export type UnpackerTask = { readonly unpack: UnpackTask; readonly bind?: undefined } | { readonly bind: BindTask; readonly unpack?: undefined };

/** Unpacks the layers of one pull. */
export interface Unpacker {
  unpack(task: UnpackTask, signal: AbortSignal): Promise<UnpackResult>;
  bind(task: BindTask, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** For the names of a million files, twice over. */
const HEAP_MEGABYTES = 1_024;
const ANSWER = z.object({
  bytes: z.number(),
  entries: z.number(),
  needs: z
    .object({
      implied: z.array(z.string()),
      links: z.array(z.object({ path: z.string(), target: z.string() })),
      hidesAll: z.boolean(),
      touched: z.string(),
    })
    .optional(),
});

/** Beside this file, as source and compiled, and beside the peer's bundle. */
const PROGRAM = new URL(`./layer-unpacker${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`, import.meta.url);

/** `lanes`: layers unpacked at the same time, each by a process of its own that is used again and again. */
export function startUnpacker(lanes: number): Unpacker {
  const programs = Array.from({ length: lanes }, () => startChildProgram(fileURLToPath(PROGRAM), { heapMegabytes: HEAP_MEGABYTES }));
  const free = [...programs];

  async function ask(task: UnpackerTask, signal: AbortSignal): Promise<unknown> {
    const program = free.pop();
    if (program === undefined) throw new CcError("INTERNAL", "more layers at once than there are lanes");
    try {
      return await program.ask(task, signal);
    } finally {
      free.push(program);
    }
  }

  return {
    unpack: async (task, signal) => ANSWER.parse(await ask({ unpack: task }, signal)),
    async bind(task, signal) {
      await ask({ bind: task }, signal);
    },
    async close() {
      await Promise.all(programs.map((program) => program.close()));
    },
  };
}
