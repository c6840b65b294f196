import { z } from "zod";
import { ok, type Result, refuse } from "../base/index.ts";
import type { ImageConfig } from "./image-store.ts";
import { firstIssue, LAYERS_MAX, parseJson } from "./manifest.ts";
import { type Digest, isDigest } from "./reference.ts";

/** What the host keeps of an image beside its layers. */
export type ImageRecord = {
  readonly digest: Digest;
  /** Keys of layers, lowest first, none twice, as an overlay stacks them. */
  readonly stack: readonly Digest[];
  readonly layers: readonly LayerRecord[];
  readonly config: ImageConfig;
};

/**
 * A compressed layer of a manifest with the digest and bytes of what is in it: known without asking the registry again.
 * `key` where it is not the digest: a layer that takes something from those below it.
 */
export type LayerRecord = { readonly blob: Digest; readonly diffId: Digest; readonly bytes: number; readonly key?: Digest | undefined };

/** What a complete reference led to when it was last pulled. */
export type ReferenceRecord = { readonly reference: string; readonly digest: Digest };

const VERSION = 1;
const RECORD_CHARS_MAX = 8 * 1024 * 1024;

const digest = z.string().refine(isDigest);
const strings = z.array(z.string());
const imageSchema = z.object({
  version: z.literal(VERSION),
  digest,
  stack: z.array(digest).min(1).max(LAYERS_MAX),
  layers: z.array(z.object({ blob: digest, diffId: digest, bytes: z.number().int().min(0), key: digest.optional() })).max(LAYERS_MAX),
  config: z.object({
    entrypoint: strings,
    cmd: strings,
    env: strings,
    user: z.string(),
    workingDir: z.string(),
    stopSignal: z.string(),
    labels: z.record(z.string(), z.string()),
  }),
});
const referenceSchema = z.object({ version: z.literal(VERSION), reference: z.string().max(1_024), digest });

export function encodeImageRecord(record: ImageRecord): string {
  return JSON.stringify({ version: VERSION, ...record });
}

export function encodeReferenceRecord(record: ReferenceRecord): string {
  return JSON.stringify({ version: VERSION, ...record });
}

/** A file that a power cut or a hand has damaged is a refusal: the image counts as not here. */
export function decodeImageRecord(text: string): Result<ImageRecord> {
  return decode(text, imageSchema);
}

export function decodeReferenceRecord(text: string): Result<ReferenceRecord> {
  return decode(text, referenceSchema);
}

function decode<T>(text: string, schema: z.ZodType<T>): Result<T> {
  const json = parseJson(text, RECORD_CHARS_MAX);
  if (!json.ok) return json;
  const parsed = schema.safeParse(json.value);
  return parsed.success ? ok(parsed.data) : refuse("INTERNAL", `the record of an image is damaged: ${firstIssue(parsed.error)}`);
}
