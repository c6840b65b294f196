/**
 * Loaded before a peer's own source (`node --import`): makes it a liar. It is a member like any other, with its host's real
 * key, and changes what it passes on for users and for other hosts, as the file that LIAR_WORDS names says at that moment.
 */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { patched } from "../../nodes/simulated/mutations/mutation.ts";
import { PATCHES } from "./liar-patches.ts";

/** Pairs of what was said and what is said instead, of the same length; by what they are about. */
export type Lies = {
  /** In bodies of users' requests. */
  readonly request?: readonly (readonly [string, string])[];
  /** In the names of what a request is about: a record's key, a stream's container. */
  readonly about?: readonly (readonly [string, string])[];
  /** In records of others that it holds for them. */
  readonly held?: readonly (readonly [string, string])[];
};
type Body = { readonly body: Uint8Array };
type Payload = { readonly payload: Uint8Array };

const top = join(import.meta.dirname, "../..");
const words = process.env["LIAR_WORDS"] ?? "";
const lies = (): Lies => JSON.parse(readFileSync(words, "utf8"));
const said = (bytes: Uint8Array, pairs: Lies["request"]): Buffer =>
  Buffer.from(
    (pairs ?? []).reduce((text, [from, to]) => text.replaceAll(from, to), Buffer.from(bytes).toString("latin1")),
    "latin1",
  );

Object.assign(globalThis, {
  liar: {
    request: <T extends Body>(signed: T): T => ({ ...signed, body: said(signed.body, lies().request) }),
    about: (name: string): string => said(Buffer.from(name), lies().about).toString(),
    held: <T extends Payload>(frame: T): T => ({ ...frame, payload: said(frame.payload, lies().held) }),
  },
});

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.startsWith("file:")) return loaded;
    const file = relative(top, fileURLToPath(url));
    if (!PATCHES.some((patch) => patch.file === file) || loaded.source === undefined || loaded.source === null) return loaded;
    return { ...loaded, source: patched(Buffer.from(loaded.source as Uint8Array).toString("utf8"), file, PATCHES) };
  },
});
