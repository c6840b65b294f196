import type { Mutation } from "./mutation.ts";

/** Rules about volumes. */
export const VOLUME_MUTATIONS: readonly Mutation[] = [
  {
    name: "a volume is not looked for by its token, nor where it was tried before",
    hazard: "two-ids",
    scenario: "reply to a volume's create",
    patches: [
      { file: "nodes/peer/core/handlers/made-before.ts", find: "if (here !== undefined) return here;", replace: "" },
      { file: "nodes/peer/core/handlers/made-before.ts", find: "for (const peer of peers) {", replace: "for (const peer of peers.slice(0, 0)) {" },
    ],
  },
  {
    name: "a peer that was tried before and is silent counts as 'not made'",
    hazard: "two-ids",
    scenario: "dies before it answers",
    patches: [{ file: "nodes/peer/core/handlers/made-before.ts", find: "if (made.get(id) === undefined)", replace: "if (peers.length > 1_000)" }],
  },
  {
    name: "a volume's name is held for nobody",
    hazard: "two-creates",
    scenario: "one volume's name",
    patches: [
      {
        file: "nodes/peer/core/handlers/held-names.ts",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a source file.
        find: 'return { takenBy: "", heldFor: holds.hold(`${kind} ${name}`, id, from, clock.monotonicMs()) ?? "" };',
        replace: 'return { takenBy: "", heldFor: "" };',
      },
    ],
  },
  {
    name: "a volume that is not known is not asked around",
    hazard: "absent-succeeds",
    scenario: "a volume is deleted",
    patches: [
      {
        file: "nodes/peer/core/handlers/find-volumes.ts",
        find: 'unknown.length > 0 ? await askAround(unknown, "volume") : []',
        replace: 'unknown.length > 1_000 ? await askAround(unknown, "volume") : []',
      },
    ],
  },
  {
    name: "a lone host that lost its store does not look beside what lies on it",
    hazard: "orphan-sweep",
    scenario: "a host's store is lost while it reaches nobody",
    patches: [{ file: "nodes/peer/core/core.ts", find: "beside: () => beside.load(),", replace: "beside: async () => []," }],
  },
  {
    name: "a host that has lost its store answers for what it does not know",
    hazard: "absent-succeeds",
    scenario: "a volume's delete reaches only",
    patches: [{ file: "nodes/peer/core/ask-around.ts", find: "    replica.mustBeReady();\n    // A name", replace: "    // A name" }],
  },
  {
    name: "who is awarded a fresh volume's container takes it without its holder",
    hazard: "unbound-volume",
    scenario: "two runs use a new volume first",
    patches: [
      { file: "src/volumes/volume-holder.ts", find: "if (before.holder === this.#self) return ok(this.#accepted(id));", replace: "return ok(undefined);" },
      {
        file: "src/volumes/volume-holder.ts",
        find: "if (volume === undefined || own === undefined || volume.gone || volume.holder !== this.#self)",
        replace:
          "if (own === undefined && volume !== undefined) return files.ensureReady(id, volume.sizeBytes);\n    if (volume === undefined || own === undefined)",
      },
    ],
  },
  {
    name: "a hand-over whose answer was lost is not found in the records",
    hazard: "unbound-volume",
    scenario: "the giver's answer is lost",
    patches: [
      {
        file: "src/volumes/volume-holder.ts",
        find: "if (accepted.length > 0) await replica.write",
        replace: "if (accepted.length > 1_000) await replica.write",
      },
      {
        file: "src/volumes/holding-records.ts",
        find: "handedTo === writer.self && epoch === volume.epoch - 1",
        replace: "handedTo === writer.self && epoch === volume.epoch - 100",
      },
    ],
  },
  {
    name: "nobody asks who uses a volume before it is deleted",
    hazard: "volume-delete-race",
    scenario: "a delete and an attach",
    patches: [
      {
        file: "src/volumes/decide.ts",
        find: 'if (usersHere.length > 0) return refuse("IN_USE"',
        replace: 'if (usersHere.length > 1_000) return refuse("IN_USE"',
      },
    ],
  },
  {
    name: "a volume that is being deleted is attached all the same",
    hazard: "volume-delete-race",
    scenario: "a delete and an attach",
    patches: [{ file: "src/volumes/decide.ts", find: "return isHeld ? refuse(", replace: 'return isHeld && volume.name === "" ? refuse(' }],
  },
  {
    name: "each holder deletes at once instead of holding first",
    hazard: "volume-delete-race",
    scenario: "one of three volumes",
    patches: [
      {
        file: "nodes/peer/core/handlers/volume-delete.ts",
        find: "if (errors.length > 0) return { ...outcome, done: []",
        replace: "if (errors.length > 1_000) return { ...outcome, done: []",
      },
      {
        file: "nodes/peer/core/handlers/volume-delete.ts",
        find: "    if (errors.length > 0) {\n      for (const [peer, held] of byHolder)",
        replace: "    if (errors.length > 1_000) {\n      for (const [peer, held] of byHolder)",
      },
    ],
  },
  {
    name: "what cannot be reached is left out of a delete",
    hazard: "volume-delete-race",
    scenario: "cannot be reached",
    patches: [
      {
        file: "nodes/peer/core/handlers/volume-delete.ts",
        find: "if (refused.length > 0) return",
        replace:
          "volumes.splice(0, volumes.length, ...volumes.filter(({ id }) => !refused.some(({ item }) => item === id)));\n    if (refused.length > 1_000) return",
      },
    ],
  },
  {
    name: "files that no record knows are swept",
    hazard: "orphan-sweep",
    scenario: "beside it are lost while it reaches nobody",
    patches: [
      {
        file: "src/volumes/leftover-files.ts",
        find: "if (volume === undefined || !this.#lying.has(id) || isBusy(id)) continue;",
        replace:
          "if (volume === undefined) {\n        await files.remove(id).catch(() => undefined);\n        continue;\n      }\n      if (!this.#lying.has(id) || isBusy(id)) continue;",
      },
    ],
  },
  {
    name: "a used volume without files is formatted anew",
    hazard: "orphan-sweep",
    scenario: "no empty one is made",
    patches: [
      {
        file: "src/volumes/volume-holder.ts",
        find: "if ((await files.usage(id)) !== undefined) return;",
        replace: "if ((await files.usage(id)) !== undefined) return;\n      if (own.epoch > 0) return files.ensureReady(id, volume.sizeBytes);",
      },
    ],
  },
];
