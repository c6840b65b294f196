/** What has to be undone at the end, also of a run that failed or was interrupted: the last made goes first. */
export class Cleanup {
  readonly #steps: { readonly what: string; readonly undo: () => Promise<void> }[] = [];
  #done: Promise<void> | undefined;

  /** Register before the thing is made: undoing what was not made has to be harmless. */
  add(what: string, undo: () => Promise<void>): void {
    this.#steps.push({ what, undo });
  }

  /** Repeated: waits for the first. A step that fails is said, and the others are done all the same. */
  run(say: (line: string) => void): Promise<void> {
    this.#done ??= (async () => {
      for (const step of this.#steps.toReversed()) {
        await step.undo().catch((error: unknown) => {
          say(`${step.what} could not be undone: ${error instanceof Error ? error.message : String(error)}`);
          process.exitCode = 1;
        });
      }
    })();
    return this.#done;
  }
}
