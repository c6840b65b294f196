type Stream = "stdout" | "stderr";

/** How far the output of a container was passed on: what a stream that takes its place has to begin with, and to leave out. */
export type OutputCursor = {
  /** The part of a frame's bytes that was not passed on before. `position`: where in the whole output the frame ends. */
  take(stream: Stream, bytes: Uint8Array, position?: number): Uint8Array;
  /** What lies behind the mark was rotated away: nothing of what comes was here before. */
  lost(): void;
  /** Where to go on, undefined where nobody has said; the next frames count as those of a new stream from there. */
  mark(): { readonly position: number | undefined; readonly openLines: readonly Stream[] };
  /** Bytes so far, of both streams. */
  passedOn(): number;
};

const NEWLINE = 0x0a;

/**
 * Positions come with the last frame of each piece that the container's host reads at once. A stream that breaks between two
 * of them has passed on bytes behind its last position: of what the next one sends from there, so many are left out. They
 * are counted a stream, since only within each of the two the bytes have an order that is always the same.
 */
export function createOutputCursor(): OutputCursor {
  let position: number | undefined;
  let passedOn = 0;
  /** Of each stream: bytes passed on behind the position, bytes still to leave out, whether its line is open now and was at the position. */
  const of = {
    stdout: { behind: 0, skip: 0, open: false, openAtMark: false },
    stderr: { behind: 0, skip: 0, open: false, openAtMark: false },
  };
  const both = [of.stdout, of.stderr];
  return {
    take(stream, bytes, at) {
      const state = of[stream];
      const skipped = Math.min(state.skip, bytes.length);
      state.skip -= skipped;
      const fresh = bytes.subarray(skipped);
      state.behind += fresh.length;
      passedOn += fresh.length;
      if (fresh.length > 0) state.open = fresh[fresh.length - 1] !== NEWLINE;
      // A stream's first frame may only say again where it begins.
      if (at !== undefined && (position === undefined || at > position)) {
        position = at;
        for (const each of both) Object.assign(each, { behind: 0, skip: 0, openAtMark: each.open });
      }
      return fresh;
    },
    lost() {
      // The history is cut between lines.
      for (const each of both) Object.assign(each, { behind: 0, skip: 0, open: false });
    },
    mark() {
      for (const each of both) each.skip = each.behind;
      return { position, openLines: (["stdout", "stderr"] as const).filter((stream) => of[stream].openAtMark) };
    },
    passedOn: () => passedOn,
  };
}
