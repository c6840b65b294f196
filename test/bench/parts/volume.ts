import { execFile } from "node:child_process";
import { chown, cp, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { makeScene, newId, outputOf, type Scene } from "../../host/containers/harness.ts";
import { newVolume } from "../../host/volumes/new-ids.ts";
import type { Cleanup } from "../cleanup.ts";
import { number, type Result, verdictLeast } from "../report.ts";
import { median, turnOrder } from "../statistics.ts";

const SIZE_BYTES = 1024 ** 3;
const WRITES = 2_000;
const BUDGET = 0.9;
const START_MS_MAX = 60_000;
/** Each write is on the disk before the next begins; the file grows, as a database's log does. */
const DD = ["dd", "if=/dev/zero", "bs=4096", `count=${WRITES}`, "oflag=dsync"];

const run = promisify(execFile);

/** A volume of one host, without the mesh: what its making, its mount and each synced write cost beside those made by hand. */
export async function benchVolume(runs: number, cleanup: Cleanup, signal: AbortSignal): Promise<Result> {
  const scene = await makeScene();
  cleanup.add("the volumes' folder", () => scene.close());
  const runtime = await scene.open();
  const driver = scene.volumes();
  const image = await withDd(scene);
  const byHand = join(scene.folder, "by-hand");
  await mkdir(byHand);
  await run("truncate", ["-s", String(SIZE_BYTES), `${byHand}.img`]);
  await run("mkfs.ext4", ["-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", `${byHand}.img`]);
  cleanup.add("the file system made by hand", async () => void (await run("umount", [byHand])));
  await run("mount", ["-o", "loop", `${byHand}.img`, byHand]);

  const values = { create: [] as number[], attach: [] as number[], release: [] as number[], with: [] as number[], without: [] as number[] };
  const perSecond: [number[], number[]] = [[], []];
  const id = newVolume();
  await driver.create(id, SIZE_BYTES);
  const inVolume = async (): Promise<number> => {
    const container = newId();
    const spec = scene.spec(container, { command: [...DD, "of=/data/log"], volumes: [{ id, path: "/data", readOnly: false }] });
    await runtime.start(spec, image, "t", AbortSignal.any([signal, AbortSignal.timeout(START_MS_MAX)]));
    await runtime.waitExit(container, signal);
    const { stderr } = await outputOf(runtime, container);
    await runtime.remove(container);
    return writesPerSecond(stderr);
  };
  const onLoop = async (): Promise<number> => writesPerSecond((await run(DD[0] ?? "", [...DD.slice(1), `of=${byHand}/log`], { signal })).stderr);
  for (let turn = 0; turn < runs; turn += 1) {
    for (const index of turnOrder(2, turn)) perSecond[index === 0 ? 0 : 1].push(await (index === 0 ? inVolume : onLoop)());
    await measureLife(scene, values);
    for (const index of turnOrder(2, turn)) {
      const container = newId();
      const spec = scene.spec(container, { command: ["true"], volumes: index === 0 ? [] : [{ id, path: "/data", readOnly: false }] });
      const took = await runtime.start(spec, image, "t", AbortSignal.any([signal, AbortSignal.timeout(START_MS_MAX)]));
      values[index === 0 ? "without" : "with"].push(took["total"] ?? Number.NaN);
      await runtime.waitExit(container, signal);
      await runtime.remove(container);
    }
  }
  await driver.remove(id);
  const [volume, hand] = [median(perSecond[0]), median(perSecond[1])];
  const ratio = volume / hand;
  const row = (what: string, of: readonly number[]): readonly string[] => [what, number(median(of)), number(Math.min(...of)), "", ""];
  return {
    part: "volume",
    title: `A volume of 1 GiB on one host, ${runs} interleaved runs (ms; synced writes of 4 KiB a second)`,
    columns: ["what", "median", "least", "ratio to one by hand", "budget"],
    rows: [
      row("create (formatted and synced)", values.create),
      row("attach", values.attach),
      row("release", values.release),
      row("start of a container without a volume", values.without),
      row("start of a container with it", values.with),
      ["synced writes on a loop file system made by hand", number(hand), number(Math.min(...perSecond[1])), "1", ""],
      ["synced writes in a container's volume", number(volume), number(Math.min(...perSecond[0])), number(ratio), verdictLeast(ratio, BUDGET)],
    ],
    values: {
      "create, ms": values.create,
      "attach, ms": values.attach,
      "release, ms": values.release,
      "start without, ms": values.without,
      "start with, ms": values.with,
      "volume, writes/s": perSecond[0],
      "by hand, writes/s": perSecond[1],
    },
  };
}

async function measureLife(scene: Scene, values: { readonly create: number[]; readonly attach: number[]; readonly release: number[] }): Promise<void> {
  const [id, user] = [newVolume(), newId()];
  const driver = scene.volumes();
  const timed = async (into: number[], work: () => Promise<unknown>): Promise<void> => {
    const from = performance.now();
    await work();
    into.push(performance.now() - from);
  };
  await timed(values.create, () => driver.create(id, SIZE_BYTES));
  await timed(values.attach, () => driver.attach(id, user));
  await timed(values.release, () => driver.release(user));
  await driver.remove(id);
}

/** The scene's image under a layer with the host's own dd and what it loads: busybox's syncs only at the end. */
async function withDd(scene: Scene): Promise<Scene["image"]> {
  const layer = join(scene.folder, "layers/dd");
  const { stdout } = await run("ldd", ["/bin/dd"]);
  const base = 0x7000_0000;
  for (const file of ["/bin/dd", ...[...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? "")]) {
    const target = join(layer, file);
    await mkdir(dirname(target), { recursive: true });
    await cp(file, target, { dereference: true });
    await chown(target, base, base);
  }
  return { ...scene.image, layers: [...scene.image.layers, layer] };
}

function writesPerSecond(said: string): number {
  const seconds = Number(/copied, ([\d.e-]+) s/.exec(said)?.[1]);
  if (!(seconds > 0)) throw new Error(`dd said nothing that can be read: ${said}`);
  return WRITES / seconds;
}
