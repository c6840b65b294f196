import type { Mutation } from "./mutation.ts";

const record = "src/state/record.ts";
const claims = "src/state/views/claims.ts";

/** Rules about who may do what. */
export const AUTHORITY_MUTATIONS: readonly Mutation[] = [
  {
    name: "anybody writes under a host's key",
    hazard: "liar",
    scenario: "one stolen host",
    patches: [{ file: record, find: 'return parts.peer === writer ? undefined : "foreign-key";', replace: "return undefined;" }],
  },
  {
    name: "a record's signature is not checked",
    hazard: "liar",
    scenario: "one stolen host",
    patches: [
      {
        file: record,
        find: "return publicKey !== undefined && verifier.verify(publicKey, signedBytes(frame.payload), frame.signature);",
        replace: "return publicKey !== undefined && verifier !== undefined && signedBytes(frame.payload).length > 0;",
      },
    ],
  },
  {
    name: "a claim needs no award",
    hazard: "liar",
    scenario: "one stolen host",
    patches: [
      {
        file: claims,
        find: "if (create?.id !== key.id || awarder === undefined || !verifier.verify(awarder, Buffer.concat([AWARD_PREFIX, signed]), signature)) return undefined;",
        replace: "if (create?.id !== key.id || awarder === undefined || Buffer.concat([AWARD_PREFIX, signed, signature]).length === 0) return undefined;",
      },
    ],
  },
  {
    name: "an award is anybody's who shows it, at any epoch",
    hazard: "liar",
    scenario: "one stolen host",
    patches: [
      {
        file: claims,
        find: "terms.holder !== record.writer || terms.epoch !== claim.epoch || terms.epoch < 1 || terms.epoch > AWARD_EPOCH_MAX",
        replace: "terms.epoch < 1 || terms.epoch > AWARD_EPOCH_MAX",
      },
    ],
  },
  {
    name: "a user's record needs no user's signature",
    hazard: "liar",
    scenario: "one stolen host",
    patches: [
      {
        file: "src/identity/user-records.ts",
        find: 'if (!verifyRequest(request, key.publicKey, verifier)) return { standing: "void", reason: "the signature is not the key\'s" };',
        replace: "void verifyRequest; void verifier;",
      },
    ],
  },
  {
    name: "an admin's record needs no admin's signature",
    hazard: "liar",
    scenario: "one stolen host",
    patches: [
      {
        file: "src/identity/authority.ts",
        find: "return publicKey !== undefined && verifyRequest(fact.request, publicKey, verifier);",
        replace: "return publicKey !== undefined && verifyRequest !== undefined && verifier !== undefined;",
      },
      { file: "src/identity/authority.ts", find: "fact.value.recordKey === record.key && readStamped", replace: "readStamped" },
    ],
  },
  {
    name: "what ends a key or a host reaches back as far as the clock is wrong",
    hazard: "removed-sponsor",
    scenario: "an hour behind, cut off",
    patches: [{ file: "nodes/peer/core/handlers/writes.ts", find: "  if (major < afterMs) {", replace: "  if (major < afterMs && afterMs < 0) {" }],
  },
  {
    name: "a removal ends only what counts",
    hazard: "revoked-owner",
    scenario: "nobody lists it",
    patches: [{ file: claims, find: "  if (!isRemoved) {", replace: "  if (!isRemoved || isRemoved) {" }],
  },
  {
    name: "whether a change is final is for its stamper to say",
    hazard: "liar",
    scenario: "takes a user's words",
    patches: [
      { file: "src/state/views/wanted.ts", find: ' || record.final !== (change.kind === "removed")) return undefined;', replace: ") return undefined;" },
    ],
  },
  {
    name: "a neighbour's word about start numbers is believed",
    hazard: "liar",
    scenario: "start numbers",
    patches: [
      {
        file: "src/state/replica-service.ts",
        find: "    this.#repair.heard(peer, told.digest, lacksOwn);",
        replace:
          '    this.#repair.heard(peer, told.digest, lacksOwn);\n    if (this.#standing !== "ready") this.#rememberedStart = Math.max(this.#rememberedStart, told.highestStartOfYours);',
      },
    ],
  },
  {
    name: "a stamp may be hours from the signed time",
    hazard: "restamp",
    scenario: "handed again, an hour",
    patches: [
      {
        file: "src/state/record.ts",
        find: "return !signed.ok || isStampedInTime(stampedMs, signed.value.createdS);",
        replace: "return !signed.ok || isStampedInTime(stampedMs, signed.value.createdS) || stampedMs > 0;",
      },
    ],
  },
  {
    name: "the later stamp of a request counts",
    hazard: "restamp",
    scenario: "after the user's 'start'",
    patches: [
      {
        file: "src/state/stamps.ts",
        find: "return known !== undefined && compareVersions(known.lowest, record.version) < 0 ? known.lowest : record.version;",
        replace: "return known !== undefined ? record.version : record.version;",
      },
    ],
  },
  {
    name: "nonces are not remembered",
    hazard: "restamp",
    scenario: "on the wire",
    patches: [{ file: "nodes/peer/core/authenticate.ts", find: 'if (verdict !== "fresh") throw', replace: 'if (verdict === "full") throw' }],
  },
  {
    name: "a restart forgets what was acted on",
    hazard: "restamp",
    scenario: "signed ahead of time",
    patches: [{ file: "src/identity/act-journal.ts", find: "for (const act of acts) kept", replace: "for (const act of acts.slice(acts.length)) kept" }],
  },
  {
    name: "what is signed ahead is not fsynced",
    hazard: "restamp",
    scenario: "signed ahead of time",
    patches: [{ file: "src/identity/act-journal.ts", find: "await this.#journal.keep(act, isAhead);", replace: "await this.#journal.keep(act, false);" }],
  },
  {
    name: "any peer takes what is addressed to another",
    hazard: "restamp",
    scenario: "on the wire",
    patches: [
      {
        file: "src/identity/check-request.ts",
        find: 'if (from === "user" && peer !== self) return refuse',
        replace: 'if (from === "user" && peer === "") return refuse',
      },
    ],
  },
  {
    name: "what a revoked key asked for before is void",
    hazard: "revoked-owner",
    patches: [
      {
        file: "src/identity/user-records.ts",
        find: "isBefore(stamp, way.endsAt)",
        replace: "isBefore(stamp, way.endsAt) && !Number.isFinite(way.endsAt.timeMs)",
      },
    ],
  },
  {
    name: "a revoked key is taken for a live one",
    hazard: "revoked-owner",
    patches: [
      { file: "src/identity/check-request.ts", find: 'if (key.state === "revoked") return refuse', replace: 'if (key.keyId === ("" as never)) return refuse' },
    ],
  },
  {
    name: "who was admitted by a removed host is out",
    hazard: "removed-sponsor",
    scenario: "they stay members",
    patches: [
      {
        file: "src/identity/member-standing.ts",
        find: "const kept = sponsor.certificatesKept.has(host.peerId) || (sponsor.allCertificates && host.admittedAtMs < sponsor.stamp.timeMs);",
        replace: "const kept = sponsor.host === host.peerId;",
      },
    ],
  },
  {
    name: "a removed host stays a member",
    hazard: "removed-sponsor",
    scenario: "keeps talking",
    patches: [{ file: "src/identity/member-standing.ts", find: 'if (authority.removals.has(host.peerId)) return { standing: "removed" };', replace: "" }],
  },
  {
    name: "a removed host's records count on",
    hazard: "removed-sponsor",
    scenario: "keeps talking",
    patches: [
      {
        file: "src/state/views/standing.ts",
        find: '  const removal = judge.authority.removals.get(record.writer);\n  if (removal === undefined) return "live";',
        replace: '  const removal = judge.authority.removals.get(record.writer);\n  if (removal !== record) return "live";',
      },
    ],
  },
  {
    name: "what a revoked admin signed stays",
    hazard: "back-door",
    patches: [
      {
        file: "src/identity/key-chains.ts",
        find: "chain.cutAt === NEVER && chain.revocations.every((revocation) => keeps(revocation, fact));",
        replace: "chain.revocations.every((revocation) => keeps(revocation, fact) || true);",
      },
      {
        file: "src/identity/key-chains.ts",
        find: "const cutAt = parent.revocations.filter((revocation) => !keeps(revocation, grant)).reduce((moment, { stamp }) => earlier(moment, stamp), parent.cutAt);",
        replace: "const cutAt = earlier(parent.cutAt, parent.cutAt);",
      },
    ],
  },
  {
    name: "uses of an invite are not written down",
    hazard: "invite-flood",
    patches: [{ file: "src/identity/admission.ts", find: "    if (!again) await ledger.record(use);\n", replace: "    void again; void ledger;\n" }],
  },
  {
    name: "a use is written down after the answer",
    hazard: "invite-flood",
    patches: [
      { file: "src/identity/admission.ts", find: "    if (!again) await ledger.record(use);\n", replace: "    if (!again) void ledger.record(use);\n" },
    ],
  },
  {
    name: "a minority removes",
    hazard: "mutual-removal",
    patches: [{ file: "nodes/peer/core/handlers/hosts.ts", find: "if (seen * 2 > members.length) return;", replace: "if (seen > 0) return;" }],
  },
  {
    name: "any admin revokes any other",
    hazard: "mutual-removal",
    patches: [
      {
        file: "src/identity/authority.ts",
        find: "return (authority.chains.get(target) ?? []).some((chain) => chain.parent !== undefined && isInChain(chain.parent, signer));",
        replace: "return isInChain !== undefined;",
      },
    ],
  },
  {
    name: "roles are not looked at",
    hazard: "no-power",
    patches: [
      {
        file: "src/identity/check-request.ts",
        find: "if (!roleAllows(key.role, context.call) && !revokesItself(request, keyId)) {",
        replace: 'if (!roleAllows("admin", context.call) && !revokesItself(request, keyId)) {',
      },
    ],
  },
];
