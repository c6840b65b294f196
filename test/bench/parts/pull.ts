import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { silentLogger } from "../../../src/base/index.ts";
import { createCommandRunner, createUserNamespacePin, systemClock, systemRandom, type UserNamespacePin } from "../../../src/host/index.ts";
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

type Contestant = { readonly name: string; readonly forget: () => Promise<void>; readonly pull: () => Promise<number> };

/** From the registry's first byte to layers that can be mounted, with nothing of the image there before. */
export async function benchPull(lab: BenchLab, rivals: Rivals, runs: number, cleanup: Cleanup, signal: AbortSignal): Promise<Result> {
  const folder = join(lab.layout.folder, "bench/layered");
  const { compressedBytes, unpackedBytes } = await writeLayeredImage(folder, "1");
  const image = await lab.image("bench/layered:1", `oci:${folder}:1`);
  const contestants: readonly Contestant[] = [
    {
      name: "docker pull",
      forget: async () => void (await timedRun(rivals.docker(["image", "rm", "--force", image]), signal).catch(absent)),
      pull: async () => (await timedRun(rivals.docker(["pull", "--quiet", image]), signal)).exitMs,
    },
    {
      name: "podman pull",
      forget: async () => void (await timedRun(rivals.podman(["image", "rm", "--force", image]), signal).catch(absent)),
      pull: async () => (await timedRun(rivals.podman(["pull", "--quiet", "--tls-verify=false", image]), signal)).exitMs,
    },
    cloudStore(lab, image, cleanup, signal),
  ];
  const tookMs = contestants.map((): number[] => []);
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(contestants.length, turn)) {
      const contestant = contestants[index];
      if (contestant === undefined) continue;
      await contestant.forget();
      // What was removed and written before is not to be paid for by the next one.
      await timedRun({ argv: ["sync"] }, signal);
      await pause(SETTLE_MS, undefined, { signal });
      tookMs[index]?.push(await contestant.pull());
    }
  }
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

/** The peer's own image store on an empty folder each time, since a peer keeps what it has. It writes to the disk before it is done. */
function cloudStore(lab: BenchLab, image: string, cleanup: Cleanup, signal: AbortSignal): Contestant {
  const folder = join(lab.layout.folder, "bench/store");
  let pin: UserNamespacePin | undefined;
  cleanup.add("the image store", async () => pin?.close());
  return {
    name: "cc (the peer's image store)",
    forget: async () => {
      await pin?.close();
      pin = undefined;
      await rm(folder, { recursive: true, force: true });
    },
    pull: async () => {
      const commands = createCommandRunner();
      const runDir = join(folder, "run");
      pin = createUserNamespacePin({ runDir, commands });
      const settings = { insecureRegistries: [image.split("/")[0] ?? ""] };
      const store = createImageStore({
        dataDir: join(folder, "data"),
        runDir,
        pin,
        commands,
        clock: systemClock,
        random: systemRandom,
        log: silentLogger,
        ...settings,
      });
      const fromMs = performance.now();
      await store.pull(image, { signal });
      return performance.now() - fromMs;
    },
  };
}

/** Nothing to forget the first time. */
function absent(error: unknown): void {
  if (!(error instanceof Error) || !/no such image|image not known/i.test(error.message)) throw error;
}
