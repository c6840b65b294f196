import type { Mutation } from "./mutation.ts";

const replica = "src/state/replica-service.ts";

/** Rules about records, disks and clocks. */
export const STATE_MUTATIONS: readonly Mutation[] = [
  {
    name: "a start number repeats the last one",
    hazard: "sequence-reuse",
    patches: [{ file: replica, find: "this.#own.begin(highest + 1);", replace: "this.#own.begin(Math.max(1, highest));" }],
  },
  {
    name: "own records that come back newer than remembered are not written above",
    hazard: "rolled-back-disk",
    scenario: "comes back late",
    patches: [
      { file: replica, find: 'this.#standing === "ready" && taken.own.length > 0 ? this.#rewriteAbove(taken.own, nowMs) : undefined', replace: "undefined" },
    ],
  },
  {
    name: "what this host has said to be gone is left where it lies",
    hazard: "rolled-back-disk",
    scenario: "meets its own word",
    patches: [{ file: "nodes/peer/core/desired.ts", find: "isOver: (id) => view.isGone(id) || isOverHere(ownClaim(id)),", replace: "isOver: () => false," }],
  },
  {
    name: "ranges are compared by their counts, not by their digests",
    hazard: "gap-by-overwrite",
    patches: [
      {
        file: "src/state/reconcile.ts",
        find: "return end - start === range.count && compareBytes(index.spanDigest(start, end), range.digest) === 0;",
        replace: "return end - start === range.count;",
      },
    ],
  },
  {
    name: "a host acts before it has synced",
    hazard: "rolled-back-disk",
    scenario: "old disk, and its containers",
    patches: [
      {
        file: "src/state/start-up.ts",
        find: "  const late = at.elapsedMs >= SYNC_MS_MAX;",
        replace: '  if (!at.lost) return { kind: "go", why: "alone" };\n  const late = at.elapsedMs >= SYNC_MS_MAX;',
      },
    ],
  },
  {
    name: "a host acts before it has synced",
    hazard: "staggered-boot",
    patches: [
      {
        file: "src/state/start-up.ts",
        find: "  const late = at.elapsedMs >= SYNC_MS_MAX;",
        replace: '  if (!at.lost) return { kind: "go", why: "alone" };\n  const late = at.elapsedMs >= SYNC_MS_MAX;',
      },
    ],
  },
  {
    name: "stamps go by the host's own clock",
    hazard: "future-clock",
    scenario: "a day ahead",
    patches: [
      { file: replica, find: "return this.#parts.clock.nowMs() + this.#parts.liveness.medianOffsetMs();", replace: "return this.#parts.clock.nowMs();" },
    ],
  },
  {
    name: "requests are judged by the host's own clock",
    hazard: "future-clock",
    scenario: "a day ahead",
    patches: [{ file: "nodes/peer/core/mesh-time.ts", find: "clock.nowMs() + liveness.medianOffsetMs()", replace: "clock.nowMs()" }],
  },
  {
    name: "an older wish is acted on once a newer one is hidden",
    hazard: "future-clock",
    scenario: "the clock put right",
    patches: [
      {
        file: "nodes/peer/core/desired.ts",
        find: "compareVersions(version, answered) < 0",
        replace: "compareVersions(version, answered) < 0 && answered.major < 0",
      },
    ],
  },
  {
    name: "a final tombstone is weighed by its version only",
    hazard: "second-life",
    scenario: "one side of a cut",
    patches: [{ file: "src/state/merge.ts", find: "  if (a.final !== b.final) return a.final ? 1 : -1;\n", replace: "" }],
  },
  {
    name: "a request's signed time is not looked at, nor its nonce",
    hazard: "second-life",
    scenario: "an hour later",
    patches: [
      { file: "src/identity/check-request.ts", find: "  if (untimely !== undefined) return untimely;\n", replace: "" },
      { file: "nodes/peer/core/authenticate.ts", find: 'if (verdict !== "fresh") throw', replace: 'if (verdict === "full") throw' },
    ],
  },
  {
    name: "a user's removal does not end the container",
    hazard: "dead-writer",
    patches: [
      {
        file: "nodes/peer/core/desired.ts",
        find: '    if (container.wanted?.kind === "removed") return { kind: "removed", as: "gone", timeoutMs: 0 };\n',
        replace: "",
      },
      { file: "src/placement/holder.ts", find: 'if (known?.removed === true) return refuse("CONFLICT", "the container was removed");', replace: "" },
    ],
  },
  {
    name: "tombstones go by time: after 30 days",
    hazard: "year-away",
    patches: [
      {
        file: "src/state/record-book.ts",
        find: "    const due: StoredRecord[] = [];\n",
        replace:
          '    const due: StoredRecord[] = [];\n    for (const record of this.index.list("")) if (record.final && !isHostKey(record.key) && record.version.major < nowMs - 30 * 86_400_000) this.index.delete(entryIdOf(record));\n',
      },
    ],
  },
  {
    name: "what no record asks for is swept",
    hazard: "orphan-sweep",
    patches: [{ file: "src/containers/supervisor.ts", find: "      named.add(id);\n", replace: "      named.add(id);\n      void deps.runtime.remove(id);\n" }],
  },
  {
    name: "all keys lie in one record",
    hazard: "two-edits",
    patches: [
      {
        file: "src/identity/admin-requests.ts",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a source file.
        find: "`admin/-/${kind}/${subject}-${base32(requestHash(request)).slice(0, 20)}`",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a source file.
        replace: '`admin/-/${kind}/list${subject === "" ? "" : ""}`',
      },
    ],
  },
  {
    name: "two copies are always claimed",
    hazard: "copies-1",
    scenario: "one copy and says so",
    patches: [{ file: replica, find: "copies: (await copied) === undefined ? 1 : 2", replace: "copies: (await copied) === undefined ? 2 : 2" }],
  },
  {
    name: "a write is acknowledged before it is fsynced",
    hazard: "copies-1",
    scenario: "power fails right after",
    patches: [
      { file: "src/state/commit-log.ts", find: "    group.afterwards.push(then);", replace: "    group.afterwards.push(() => undefined);\n    then();" },
      { file: "src/state/commit-log.ts", find: "    return group.done.promise;", replace: "    return Promise.resolve();" },
    ],
  },
  {
    name: "kinds that are not known are dropped",
    hazard: "stricter-next",
    patches: [
      {
        file: "src/state/record.ts",
        find: '  if (parts === undefined) return dropped("bad-key", writer);',
        replace: '  if (parts === undefined || parts.kind === "gadget") return dropped("bad-key", writer);',
      },
    ],
  },
];
