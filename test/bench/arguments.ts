export const PARTS = ["run", "exec", "startup", "placement", "pull", "tunnel", "volume", "network", "idle", "ps1000"] as const;
export type PartName = (typeof PARTS)[number];

export type BenchOptions = {
  readonly parts: readonly PartName[];
  /** Turns of each contestant; parts that take long divide it. */
  readonly runs: number;
  /** How long the idle peer is watched. */
  readonly minutes: number;
  /** Detached runs of `placement`. */
  readonly placements: number;
  /** Containers of `ps1000`. */
  readonly records: number;
};

export const USAGE = `npm run bench -- [PART...] [--runs 15] [--minutes 5] [--placements 200] [--records 1000]

Measures the budgets of DESIGN side by side with other engines and prints Markdown; every value goes to .cache/bench/.
It needs root, and a machine on which nothing else runs: the load before it began is printed too.

  run        command to first output of a cached image on three hosts, against docker and podman; cc run step by step
  exec       a command in a running container, against docker and podman
  startup    cc --version and cc ps against node -e 0
  placement  request to award and to acknowledgement, at the peer that was asked
  pull       pull and unpack of an image of 100 MB from the lab's registry, cold each time, against podman and docker
  tunnel     throughput, latency and new connections through a tunnel, against ssh -L, socat and no tunnel
  volume     a volume's making, mount and synced writes, against a loop file system made by hand
  network    VPCs: traffic between hosts against VXLAN by hand, rules, attaching, names
  idle       memory and processor of a peer that has nothing to do
  ps1000     cc ps with 1,000 containers' records`;

const NUMBERS = { "--runs": "runs", "--minutes": "minutes", "--placements": "placements", "--records": "records" } as const;
const isNumberOption = (word: string): word is keyof typeof NUMBERS => word in NUMBERS;
const isPart = (word: string): word is PartName => (PARTS as readonly string[]).includes(word);

/** Undefined where help was asked for. Throws TypeError with a sentence. */
export function parseArguments(words: readonly string[]): BenchOptions | undefined {
  const options = { runs: 15, minutes: 5, placements: 200, records: 1_000 };
  const parts: PartName[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? "";
    if (word === "--help" || word === "-h") return undefined;
    if (isNumberOption(word)) {
      at += 1;
      const value = Number(words[at]);
      if (!(value > 0 && (word === "--minutes" || Number.isSafeInteger(value)))) throw new TypeError(`${word} takes a number above 0`);
      options[NUMBERS[word]] = value;
    } else if (word === "--part")
      continue; // Before a part's name it may be said or not.
    else if (isPart(word)) parts.push(word);
    else throw new TypeError(`there is no part "${word}"; parts are ${PARTS.join(", ")}`);
  }
  return { ...options, parts: parts.length === 0 ? PARTS : parts };
}
