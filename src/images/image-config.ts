import { z } from "zod";
import { ok, type Result, refuse } from "../base/index.ts";
import type { ImageConfig } from "./image-store.ts";
import { firstIssue, LAYERS_MAX, MANIFEST_BYTES_MAX, parseJson } from "./manifest.ts";
import { type Digest, isDigest } from "./reference.ts";

/** The kernel takes no longer argument or variable (MAX_ARG_STRLEN). */
const STRING_CHARS_MAX = 128 * 1024;
const LIST_ITEMS_MAX = 4_096;

/** What an image's configuration says, checked. `diffIds` are the digests of its uncompressed layers, lowest first. */
export type ParsedConfig = { readonly config: ImageConfig; readonly diffIds: readonly Digest[]; readonly os: string; readonly architecture: string };

const text = z
  .string()
  .max(STRING_CHARS_MAX)
  .refine((value) => !value.includes("\0"), "contains a zero byte");
const optionalText = text.nullish().transform((value) => value ?? "");
const list = z
  .array(text)
  .max(LIST_ITEMS_MAX)
  .nullish()
  .transform((value) => value ?? []);
const labels = z
  .record(text, text)
  .nullish()
  .transform((value) => value ?? {})
  .refine((value) => Object.keys(value).length <= LIST_ITEMS_MAX, "too many labels");

const schema = z.object({
  os: optionalText,
  architecture: optionalText,
  config: z
    .object({
      Entrypoint: list,
      Cmd: list,
      // Without a name, or without "=", it is no variable; Docker passes such lines on, execve's users trip over them.
      Env: list.transform((lines) => lines.filter((line) => line.indexOf("=") > 0)),
      User: optionalText,
      WorkingDir: optionalText,
      StopSignal: optionalText,
      Labels: labels,
    })
    .nullish(),
  rootfs: z.object({ type: z.literal("layers"), diff_ids: z.array(z.string().refine(isDigest, "not a sha256 digest")).max(LAYERS_MAX).nullish() }),
});

const NOTHING: ImageConfig = { entrypoint: [], cmd: [], env: [], user: "", workingDir: "", stopSignal: "", labels: {} };

/** The OCI image configuration (or Docker's, which is the same in these parts) as a registry gives it: nothing in it is trusted. */
export function parseImageConfig(json: string): Result<ParsedConfig> {
  const value = parseJson(json, MANIFEST_BYTES_MAX);
  const parsed = value.ok ? schema.safeParse(value.value) : undefined;
  if (parsed === undefined || !parsed.success) {
    const why = parsed === undefined ? "it is not JSON, or too large" : firstIssue(parsed.error);
    return refuse("IMAGE_PULL_FAILED", `the image's configuration cannot be used: ${why}`);
  }
  const { config, os, architecture, rootfs } = parsed.data;
  return ok({
    config:
      config === null || config === undefined
        ? NOTHING
        : {
            entrypoint: config.Entrypoint,
            cmd: config.Cmd,
            env: config.Env,
            user: config.User,
            workingDir: config.WorkingDir,
            stopSignal: config.StopSignal,
            labels: config.Labels,
          },
    diffIds: rootfs.diff_ids ?? [],
    os,
    architecture,
  });
}
