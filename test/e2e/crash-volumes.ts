import { setTimeout as pause } from "node:timers/promises";
import type { Test } from "tap";
import type { SeededRandom } from "../../nodes/simulated/random.ts";
import { eventually, type Outcome, type TestLab } from "./lab.ts";

type Call = (words: readonly string[]) => Promise<Outcome>;
/** A volume that somebody was told he has; `lines`: what was acknowledged as written and synced. */
type Kept = {
  readonly id: string;
  readonly name: string;
  readonly lines: string[];
  user: string | undefined;
  state: "there" | "deleted" | "unknown";
};
type Listed = { readonly id: string; readonly name: string; readonly hostName: string };

const HOSTS = [1, 2, 3];
const VOLUMES_MAX = 3;

/** One user who makes volumes, writes to them by runs and execs, and deletes them, while peers die. */
export class VolumesUnderKills {
  readonly #lab: TestLab;
  readonly #call: Call;
  readonly #image: string;
  readonly #random: SeededRandom;
  readonly #volumes: Kept[] = [];
  #made = 0;
  #written = 0;

  constructor(parts: { readonly lab: TestLab; readonly call: Call; readonly image: string; readonly random: SeededRandom }) {
    this.#lab = parts.lab;
    this.#call = parts.call;
    this.#image = parts.image;
    this.#random = parts.random;
  }

  async work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const there = this.#volumes.filter(({ state }) => state === "there");
      const one = this.#random.pick(there);
      const dice = this.#random.below(100);
      if (one === undefined || (there.length < VOLUMES_MAX && dice < 25)) await this.#make();
      else if (dice < 55) await this.#writeByRun(one);
      else if (dice < 85) await this.#writeByExec(one);
      else await this.#delete(one);
      await pause(this.#random.between(0, 200));
    }
  }

  async #make(): Promise<void> {
    this.#made += 1;
    const name = `kept-${this.#made}`;
    const { code, stdout } = await this.#call(["volume", "create", "--size", "16m", "--name", name]);
    if (code === 0) this.#volumes.push({ id: stdout.trim(), name, lines: [], user: undefined, state: "there" });
  }

  #line(): string {
    this.#written += 1;
    return `line-${this.#written}`;
  }

  async #writeByRun(volume: Kept): Promise<void> {
    const line = this.#line();
    const words = ["run", "--rm", "--memory", "16m", "--disk", "16m", "--image", this.#image, "--volume", `${volume.id}:/data`];
    const { code } = await this.#call([...words, "--", "sh", "-c", `echo ${line} >> /data/log && sync`]);
    if (code === 0) volume.lines.push(line);
  }

  async #writeByExec(volume: Kept): Promise<void> {
    if (volume.user === undefined) {
      const words = ["run", "--detach", "--restart", "always", "--stop-signal", "KILL", "--memory", "16m", "--disk", "16m", "--image", this.#image];
      const { code, stdout } = await this.#call([...words, "--volume", `${volume.id}:/data`, "--", "sleep", "100000"]);
      if (code === 0) volume.user = stdout.trim();
      return;
    }
    const line = this.#line();
    const { code } = await this.#call(["exec", volume.user, "sh", "-c", `echo ${line} >> /data/log && sync`]);
    if (code === 0) volume.lines.push(line);
  }

  async #delete(volume: Kept): Promise<void> {
    if (volume.user !== undefined) {
      const { code } = await this.#call(["rm", "--force", volume.user]);
      if (code !== 0) return;
      volume.user = undefined;
    }
    const { code, stderr } = await this.#call(["volume", "delete", volume.id]);
    if (code === 0 && !stderr.includes("could not be asked")) volume.state = "deleted";
    // A refusal says that nothing was done; without an answer it may have been.
    else if (/OUTCOME_UNKNOWN|UNREACHABLE|TIMEOUT|could not be asked|CANCELLED/.test(stderr)) volume.state = "unknown";
  }

  /** After the last peer is back. */
  async check(t: Test): Promise<void> {
    const lab = this.#lab;
    const list = (host: number): Promise<Listed[]> => lab.json<Listed[]>(["volume", "list"], { host });
    const listed = await list(1);
    const there = this.#volumes.filter(({ state }) => state === "there");
    const has = (id: string): boolean => listed.some((one) => one.id === id);
    t.same(
      there.filter(({ id }) => !has(id)),
      [],
      `of ${there.length} volumes none is lost`,
    );
    const deleted = this.#volumes.filter(({ state }) => state === "deleted");
    t.same(
      deleted.filter(({ id }) => has(id)),
      [],
      `of ${deleted.length} deleted none is back`,
    );
    t.comment(`${this.#volumes.length} volumes, ${there.reduce((sum, { lines }) => sum + lines.length, 0)} acknowledged lines in those that are left`);
    for (const { id, lines } of there) {
      const read = await lab.cc(["run", "--rm", "--image", this.#image, "--volume", `${id}:/data:ro`, "--", "sh", "-c", "cat /data/log 2>/dev/null || true"]);
      t.equal(read.code, 0, read.stderr);
      const found = read.stdout.split("\n").filter((line) => line !== "");
      t.same(
        lines.filter((line) => !found.includes(line)),
        [],
        `${id}: nothing acknowledged is lost`,
      );
      t.equal(new Set(found).size, found.length, `${id}: nothing is written twice`);
    }
    const places = new Map<string, number[]>();
    for (const host of HOSTS) for (const id of await mountedOn(lab, host)) places.set(id, [...(places.get(id) ?? []), host]);
    t.same(
      [...places].filter(([, hosts]) => hosts.length > 1),
      [],
      "no volume is mounted on two hosts",
    );
  }

  /** Everything goes, whoever made it: nothing of volumes is left on any host. */
  async clear(t: Test): Promise<void> {
    const listed = await this.#lab.json<Listed[]>(["volume", "list"]);
    if (listed.length > 0) {
      const gone = await this.#lab.cc(["volume", "delete", ...listed.map(({ id }) => id)], { timeoutMs: 120_000 });
      t.equal(gone.code, 0, gone.stderr);
    }
    for (const host of HOSTS) {
      await eventually(
        `no volume lies on host ${host}`,
        async () => (await filesOn(this.#lab, host)).length === 0 && (await mountedOn(this.#lab, host)).length === 0,
      );
    }
  }
}

async function mountedOn(lab: TestLab, host: number): Promise<string[]> {
  const { stdout } = await lab.on(host, "cat", "/proc/self/mounts");
  const volumes = stdout.split("\n").flatMap((line) => /\/volumes\/(v[a-z2-7]{20})\/fs /.exec(line)?.[1] ?? []);
  return [...new Set(volumes)];
}

async function filesOn(lab: TestLab, host: number): Promise<string[]> {
  const { stdout } = await lab.on(host, "sh", "-c", `ls ${lab.folder}/hosts/h${host}/data/volumes 2>/dev/null`);
  return stdout.match(/\bv[a-z2-7]{20}\b/g) ?? [];
}
