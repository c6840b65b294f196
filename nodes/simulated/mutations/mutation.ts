/** A rule switched off in the source: the simulation has to catch it. `find` occurs exactly once in `file`. */
export type Mutation = {
  /** What the rule is, and what is done instead. */
  readonly name: string;
  readonly hazard: string;
  /** Part of the text of the scenario that catches it; left out: any of its hazard. */
  readonly scenario?: string;
  readonly patches: readonly Patch[];
};

/** `file` is relative to the repository. */
export type Patch = { readonly file: string; readonly find: string; readonly replace: string };

/** The source with the patches of `file` applied. Throws TypeError when one of them does not fit any more. */
export function patched(source: string, file: string, patches: readonly Patch[]): string {
  let text = source;
  for (const patch of patches) {
    if (patch.file !== file) continue;
    if (text.split(patch.find).length !== 2) throw new TypeError(`${patch.file} does not hold exactly once: ${patch.find}`);
    text = text.replace(patch.find, () => patch.replace);
  }
  return text;
}
