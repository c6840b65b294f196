import type { Mutation } from "./mutation.ts";

/** Rules about VPCs. */
export const VPC_MUTATIONS: readonly Mutation[] = [
  {
    name: "a VPC is not looked for where it was tried before",
    hazard: "two-ids",
    scenario: "took a VPC's create dies",
    patches: [{ file: "nodes/peer/core/handlers/made-before.ts", find: "for (const peer of peers) {", replace: "for (const peer of peers.slice(0, 0)) {" }],
  },
  {
    name: "a VPC's name is held for nobody",
    hazard: "two-creates",
    scenario: "one VPC's name",
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
    name: "a VPC that is not known is not asked around",
    hazard: "absent-succeeds",
    scenario: "a VPC is deleted",
    patches: [
      {
        file: "nodes/peer/core/handlers/find-vpcs.ts",
        find: 'unknown.length > 0 ? await askAround(unknown, "vpc") : []',
        replace: 'unknown.length > 1_000 ? await askAround(unknown, "vpc") : []',
      },
    ],
  },
  {
    name: "who said that nobody uses a VPC attaches to it all the same",
    hazard: "vpc-delete-race",
    scenario: "has not heard of the mark",
    patches: [
      {
        file: "src/vpc/vpc-addresses.ts",
        find: "return this.#holdOf(vpc.id) === undefined ? ok(vpc)",
        replace: "return vpc.id !== asked ? ok(vpc) : vpc.gone === false ? ok(vpc)",
      },
    ],
  },
  {
    name: "only the asked peer looks for users of a VPC",
    hazard: "vpc-delete-race",
    scenario: "a container started in it, at two peers",
    patches: [
      {
        file: "nodes/peer/core/handlers/vpc-delete.ts",
        find: "asked.map((peer) => askOne(peer, caller.signed, live))",
        replace: "asked.slice(0, 0).map((peer) => askOne(peer, caller.signed, live))",
      },
    ],
  },
  {
    name: "what has ended is attached again to a VPC that was deleted",
    hazard: "vpc-delete-race",
    scenario: "started unaware",
    patches: [
      { file: "src/vpc/vpc-addresses.ts", find: "return vpc.ok ? ok(true) : vpc;", replace: 'return vpc.ok || vpc.code !== "TIMEOUT" ? ok(true) : vpc;' },
      { file: "nodes/peer/core/handlers/changes.ts", find: "if (vpc?.gone !== true) return true;", replace: 'if (vpc?.name !== "") return true;' },
    ],
  },
  {
    name: "a host gives out addresses of hosts that it cannot reach",
    hazard: "double-block",
    patches: [
      {
        file: "src/vpc/block-exchange.ts",
        find: "(piece.owner === self && isRecorded(piece) ? [piece.block] : [])",
        replace:
          "((piece.owner === self && isRecorded(piece)) || !(piece.owner === self || this.#parts.liveness.reachable().includes(piece.owner)) ? [piece.block] : [])",
      },
    ],
  },
  {
    name: "a host that lost its records gives addresses all the same",
    hazard: "double-block",
    scenario: "forgets with its store",
    patches: [{ file: "src/vpc/block-exchange.ts", find: "if (this.#parts.unheard(vpc).length > 0) return [];", replace: "" }],
  },
  {
    name: "of several that wait for an owner's block two are served at once",
    hazard: "double-block",
    scenario: "many hosts ask one owner",
    patches: [
      { file: "src/vpc/block-exchange.ts", find: "this.#giving.set(id, giving);", replace: "if (!this.#giving.has(id)) this.#giving.set(id, giving);" },
    ],
  },
  {
    name: "a removed host's blocks are nobody's",
    hazard: "removed-blocks",
    scenario: "burns and is removed; a new host comes",
    patches: [{ file: "src/vpc/vpc-addresses.ts", find: "await this.#exchange.inherit(vpc);", replace: "" }],
  },
  {
    name: "an heir does not wait for hosts that it cannot reach",
    hazard: "removed-blocks",
    scenario: "gives a block away in a cut",
    patches: [{ file: "src/vpc/block-exchange.ts", find: "return confirmed.every(Boolean);", replace: "return confirmed.length >= 0;" }],
  },
  {
    name: "a freed address is given out again at once",
    hazard: "moved-address",
    patches: [
      {
        file: "src/vpc/taken-addresses.ts",
        find: "!member.isOver || !this.#isFreeAgain(member, vpc.zone)",
        replace: "!member.isOver || (false && !this.#isFreeAgain(member, vpc.zone))",
      },
    ],
  },
  {
    name: "two VPCs keep the VNI that they share",
    hazard: "vni-clash",
    patches: [{ file: "src/vpc/vni.ts", find: "taken.has(vni) ? freeVni(id, taken) : vni", replace: "taken.size < 0 ? freeVni(id, taken) : vni" }],
  },
];
