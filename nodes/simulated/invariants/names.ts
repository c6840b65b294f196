/** Everything that a simulated history must hold, by the name that a violation is reported under. */
export const INVARIANTS = {
  room: "no host promises more memory, disk or places than it has",
  "one-start": "two processes of one container only while their hosts can't reach each other and 10 s after; each run token starts once",
  "start-number": "a host that is ready has a start number above all that reachable neighbours have stored for it",
  "own-records": "what is stored was signed by its writer, and what counts was warranted: nobody writes for another",
  once: "a replayed or changed request is refused",
  power: "who lacks the role, was revoked or removed changes nothing",
  "no-fault": "no service crashes: no unhandled rejection, no INTERNAL, no error in a log",
  copies: "what is acknowledged lies fsynced on as many disks as the answer says",
  converged: "10 s after all faults: equal digests everywhere",
  "same-view": "10 s after all faults: every host derives the same from its records",
  kept: "no acknowledged write is lost unless all its disks were",
  "later-wins": "of two changes, the second made after the first was acknowledged and nothing broken, the second counts",
  "stays-removed": "what was removed stays removed",
  "at-most": "10 s after all faults: no container runs more often than asked",
  "as-asked": "30 s after all faults: every container runs exactly as asked",
  "nothing-held": "30 s after all faults: what a host has promised is the sum of its live claims",
  answered: "every request was done, refused with a reason, or (under faults) said to be unknown",
  names: "of creates of one name while all were connected at most one is live",
  bounded: "memories that others fill stay bounded",
  "invite-uses": "no invite admits more hosts than it says",
  story: "a directed history comes to the end that its rule promises",
} as const;

export type Invariant = keyof typeof INVARIANTS;
