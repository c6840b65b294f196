import { execFile } from "node:child_process";
import { join } from "node:path";
import t from "tap";

/** Of these, each half is one process's: two cores. `npm run simulate -- --seeds 20000` is for before a release. */
const SEEDS = 50;
const CUT_SEEDS = 6;
const PROCESSES = 2;
/** Beyond those: each failed once, and was mended in the product or in what looks at it. */
const FOUND = [
  146, 548, 778, 800, 995, 1038, 1297, 1345, 1900, 2401, 2866, 3223, 3276, 3571, 3716, 3735, 4047, 6227, 6515, 7870, 8251, 9425, 10_159, 10_298, 10_627, 10_949,
  11_121, 11_744, 13_462, 15_970, 16_835, 17_198,
];
/** Worlds leave much behind that lives for a virtual second: collected in one go it costs a tenth less. */
const HEAP = ["--min-semi-space-size=32", "--max-semi-space-size=64"];
const MAIN = join(import.meta.dirname, "../../nodes/simulated/main.ts");

type Outcome = { readonly code: number; readonly stdout: string };

function simulate(...words: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [...HEAP, MAIN, ...words], { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 137, stdout: `${stdout}${stderr}` });
    });
  });
}

t.test("one seed, one history, to the byte", async (t) => {
  const words = ["--hosts", "3", "--seed", "8841", "--minutes", "0.5"];
  const [first, second] = await Promise.all([simulate(...words), simulate(...words)]);
  t.match(first?.stdout, /^history [0-9a-f]{16,}$/m, "the run names its history");
  t.equal(first?.stdout, second?.stdout);
  t.not((await simulate("--hosts", "3", "--seed", "8842", "--minutes", "0.5")).stdout, first?.stdout, "another seed is another history");
});

t.test(`${SEEDS} seeds of meshes in trouble hold every invariant`, async (t) => {
  const each = SEEDS / PROCESSES;
  const outcomes = await Promise.all(Array.from({ length: PROCESSES }, (_, part) => simulate("--from", String(1 + part * each), "--seeds", String(each))));
  for (const { code, stdout } of outcomes) {
    t.equal(code, 0, stdout.slice(-20_000));
    t.match(stdout, new RegExp(`^${each} seeds passed, 0 failed$`, "m"));
  }
});

t.test(`${CUT_SEEDS} seeds of a VPC whose addresses are given out on both sides of a cut`, async (t) => {
  const each = CUT_SEEDS / PROCESSES;
  const words = (part: number): readonly string[] => ["--cut-vpcs", "--hosts", "6", "--from", String(1 + part * each), "--seeds", String(each)];
  for (const { code, stdout } of await Promise.all(Array.from({ length: PROCESSES }, (_, part) => simulate(...words(part))))) {
    t.equal(code, 0, stdout.slice(-20_000));
    t.match(stdout, new RegExp(`^${each} seeds passed, 0 failed$`, "m"));
  }
});

t.test("seeds that found a fault hold", async (t) => {
  const parts = Array.from({ length: PROCESSES }, (_, part) => FOUND.filter((_, at) => at % PROCESSES === part));
  const outcomes = await Promise.all(parts.map((seeds) => simulate("--seeds", "1", ...seeds.flatMap((seed) => ["--from", String(seed)]))));
  for (const [part, { code, stdout }] of outcomes.entries()) {
    t.equal(code, 0, stdout.slice(-20_000));
    t.match(stdout, new RegExp(`^${parts[part]?.length} seeds passed, 0 failed$`, "m"));
  }
});

t.test("what is no number of seeds, hosts or minutes is refused", async (t) => {
  for (const words of [["--seed", "x"], ["--seeds", "0"], ["--hosts=-3"], ["--hosts", "41"], ["--minutes", "1e9"], ["--minutes", "0.0"], ["--bogus"]]) {
    const { code, stdout } = await simulate(...words);
    t.equal(code, 2, words.join(" "));
    t.match(stdout, /usage: npm run simulate/);
  }
});
