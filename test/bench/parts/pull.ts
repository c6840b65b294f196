import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { silentLogger } from "../../../src/base/index.ts";
import { createCommandRunner, createUserNamespacePin, systemClock, systemRandom } from "../../../src/host/index.ts";
import { createImageStore } from "../../../src/images/index.ts";
import type { BenchLab } from "../bench-lab.ts";
import type { Cleanup } from "../cleanup.ts";
import { writeLayeredImage } from "../layered-image.ts";
import { number, type Result, verdict } from "../report.ts";
import type { Rivals } from "../rivals.ts";
import { median, turnOrder } from "../statistics.ts";
import { timedRun } from "../timed-run.ts";

const SETTLE_MS = 1_000;
const BUDGET = 1;

type Contestant = { readonly name: string; readonly pull: (image: string) => Promise<number>; readonly forget: (image: string) => Promise<void> };

/** From the registry's first byte to layers that can be mounted, with nothing of the image there before. */
export async function benchPull(lab: BenchLab, rivals: Rivals, runs: number, cleanup: Cleanup, signal: AbortSignal): Promise<Result> {
  const folder = join(lab.layout.folder, "bench/layered");
  // Another image each turn, and nothing removed before the last: ext4 takes up to twice as long to make files where many have just been deleted.
  const images: string[] = [];
  let [compressedBytes, unpackedBytes] = [0, 0];
  for (let turn = 0; turn < runs; turn += 1) {
    ({ compressedBytes, unpackedBytes } = await writeLayeredImage(folder, String(turn)));
    images.push(await lab.image(`bench/layered:${turn}`, `oci:${folder}:${turn}`));
  }
  const contestants: readonly Contestant[] = [
    {
      name: "docker pull",
      forget: async (image) => void (await timedRun(rivals.docker(["image", "rm", "--force", image]), signal)),
      pull: async (image) => (await timedRun(rivals.docker(["pull", "--quiet", image]), signal)).exitMs,
    },
    {
      name: "podman pull",
      forget: async (image) => void (await timedRun(rivals.podman(["image", "rm", "--force", image]), signal)),
      pull: async (image) => (await timedRun(rivals.podman(["pull", "--quiet", "--tls-verify=false", image]), signal)).exitMs,
    },
    cloudStore(lab, images[0]?.split("/")[0] ?? "", cleanup, signal),
  ];
  const tookMs = contestants.map((): number[] => []);
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(contestants.length, turn)) {
      const contestant = contestants[index];
      const image = images[turn];
      if (contestant === undefined || image === undefined) continue;
      // What was written before is not to be paid for by the next one.
      await timedRun({ argv: ["sync"] }, signal);
      await pause(SETTLE_MS, undefined, { signal });
      tookMs[index]?.push(await contestant.pull(image));
    }
  }
  for (const { forget } of contestants) for (const image of images) await forget(image);
  const medians = tookMs.map(median);
  const podman = medians[1] ?? Number.NaN;
  const ratio = (medians[2] ?? Number.NaN) / podman;
  return {
    part: "pull",
    title: `Pull and unpack, ${number(compressedBytes / 1e6)} MB (${number(unpackedBytes / 1e6)} MB unpacked) in 6 layers, cold, ${runs} interleaved runs (ms)`,
    columns: ["program", "median", "least", "ratio to podman pull"],
    rows: contestants.map(({ name }, index) => [
      name,
      number(medians[index] ?? 0),
      number(Math.min(...(tookMs[index] ?? []))),
      number((medians[index] ?? 0) / podman),
    ]),
    notes: [`Budget: no slower than podman: ${number(ratio)}, ${verdict(ratio, BUDGET)}.`],
    values: Object.fromEntries(contestants.map(({ name }, index) => [`${name}, ms`, tookMs[index] ?? []])),
  };
}

/** A peer's own image store. It writes to the disk before it is done. */
function cloudStore(lab: BenchLab, registry: string, cleanup: Cleanup, signal: AbortSignal): Contestant {
  const folder = join(lab.layout.folder, "bench/store");
  const runDir = join(folder, "run");
  const commands = createCommandRunner();
  const pin = createUserNamespacePin({ runDir, commands });
  cleanup.add("the image store", () => pin.close());
  const insecureRegistries = [registry];
  const parts = { dataDir: join(folder, "data"), runDir, pin, commands, clock: systemClock, random: systemRandom, log: silentLogger, insecureRegistries };
  const store = createImageStore(parts);
  return {
    name: "cc (the peer's image store)",
    pull: async (image) => {
      const fromMs = performance.now();
      await store.pull(image, { signal });
      return performance.now() - fromMs;
    },
    // It goes with the lab's folder.
    forget: async () => undefined,
  };
}
