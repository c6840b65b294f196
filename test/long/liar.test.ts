import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseReady } from "../../nodes/lab/hosts.ts";
import { hostOf, layoutOf } from "../../nodes/lab/layout.ts";
import { readCgroupRoots, startProgram } from "../../nodes/lab/machine.ts";
import { enterHost } from "../../nodes/lab/scripts.ts";
import { requireState } from "../../nodes/lab/state-file.ts";
import { eventually, type TestLab, withLab } from "../e2e/lab.ts";
import type { Lies } from "./liar-hooks.ts";

type Container = { readonly id: string; readonly name: string; readonly phase: string; readonly env: Readonly<Record<string, string>> };
const TOP = join(import.meta.dirname, "../..");
const LIAR = 2;
const HONEST = [1, 3];

withLab("a peer in between that lies", { hosts: 3, zones: "a,a,a" }, async (t, lab) => {
  const image = await lab.image();
  const runs = async (name: string, word: string): Promise<string> => {
    const ran = await lab.cc(["run", "--detach", "--name", name, "--host", "h1", "--image", image, "--", "sh", "-c", `echo ${word}; exec sleep 1000`]);
    if (ran.code !== 0) throw new Error(ran.stderr);
    return ran.stdout.trim();
  };
  const [mine, other] = [await runs("mine", "my-words"), await runs("other", "secret-of-other")];
  for (const word of ["mine", "other"]) await eventually(`${word} has written`, async () => (await lab.cc(["logs", word])).stdout !== "");
  const lie = await startLiar(lab);
  const all = async (host: number): Promise<string[]> =>
    (await lab.json<Container[]>(["ps", "--all"], { host })).map(({ name, phase }) => `${name} ${phase}`).sort();
  const logOf = (host: number): string => readFileSync(join(lab.folder, `hosts/h${host}/peer.log`), "utf8");

  await t.test("it takes part as everybody, as long as it does not lie", async (t) => {
    const run = await lab.cc(["run", "--rm", "--host", "h1", "--image", image, "echo", "asked-for"], { host: LIAR });
    t.match(run, { code: 0, stdout: "asked-for\n" });
    t.equal((await lab.cc(["logs", "other"], { host: LIAR })).stdout, "secret-of-other\n");
    await eventually("only the two are left", async () => (await all(1)).length === 2);
  });

  await t.test("a run whose command it changed: the host that is to run it refuses, and nothing runs", async (t) => {
    lie({ request: [["asked-for", "wicked-up"]] });
    for (const host of HONEST) {
      const run = await lab.cc(["run", "--rm", "--host", `h${host}`, "--image", image, "echo", "asked-for"], { host: LIAR });
      t.match(run, { code: 125, stdout: "" });
      t.match(run.stderr, new RegExp(`^Error \\[[A-Z_]+\\]: .*h${host}: .*(signature|signed)`, "m"));
      t.match(logOf(host), /"level":"warn".*"code":"UNAUTHENTICATED".*"msg":"award declined"/, `h${host} says so`);
    }
    for (const host of HONEST) t.same(await all(host), ["mine running", "other running"], `host ${host} knows of nothing new`);
  });

  await t.test("a removal that it turned to another container: both run on", async (t) => {
    for (const request of [[[mine, other]], []] as const) {
      lie({ request, about: [[mine, other]] });
      await lab.cc(["rm", "--force", "mine"], { host: LIAR });
    }
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    for (const host of HONEST) t.same(await all(host), ["mine running", "other running"], `seen at host ${host}`);
    t.equal((await lab.cc(["run", "--rm", "--host", "h1", "--image", image, "true"])).code, 0, "and names and room are as they were");
  });

  await t.test("a wish to read one container's output used for another's", async (t) => {
    lie({ about: [[mine, other]] });
    const read = await lab.cc(["logs", "mine"], { host: LIAR });
    t.match(read, { code: 1, stdout: "", stderr: /UNAUTHENTICATED.*signed for another container/ });
  });

  await t.test("a record that it holds for others, changed: not believed, and the right one comes from who wrote it", async (t) => {
    lie({ held: [["kept-as-it-is", "made-to-diffr"]] });
    await lab.must("cut", "1", "3");
    const run = await lab.cc(["run", "--detach", "--name", "late", "--env", "WORD=kept-as-it-is", "--host", "h1", "--image", image, "sleep", "1000"]);
    t.equal(run.code, 0, run.stderr);
    await eventually("h3 was handed it and says that it is not signed", async () => /"level":"warn".*bad-signature/.test(logOf(3)), 30_000);
    t.notOk(
      (await all(3)).some((line) => line.startsWith("late")),
      "h3 keeps nothing of it",
    );
    await lab.must("heal");
    await eventually("h3 has it from h1", async () => (await lab.cc(["status", "late", "--json"], { host: 3 })).stdout.includes("kept-as-it-is"), 40_000);
  });
});

/** The peer of one host, from its source with lies in it and with the host's own identity. Gives a function that says what it lies. */
async function startLiar(lab: TestLab): Promise<(lies: Lies) => void> {
  const layout = layoutOf(TOP, lab.name);
  if (!layout.ok) throw new Error(layout.message);
  const { subnet, hosts } = requireState(layout.value.stateFile);
  const plan = hostOf(layout.value, subnet, LIAR, hosts[LIAR - 1]?.zone ?? "");
  const words = join(lab.folder, "test/lies.json");
  mkdirSync(join(lab.folder, "test"), { recursive: true });
  const lie = (lies: Lies): void => writeFileSync(words, JSON.stringify(lies));
  lie({});
  await lab.on(LIAR, "kill", "-9", String(await lab.peerPid(LIAR)));
  const from = statSync(plan.output).size;
  const program = [process.execPath, "--import", join(import.meta.dirname, "liar-hooks.ts"), join(TOP, "nodes/peer/main.ts"), "run", "--config", plan.config];
  const argv = enterHost(layout.value, plan, readCgroupRoots(), TOP, ["env", `LIAR_WORDS=${words}`, ...program]);
  startProgram(argv, { stdout: plan.output, stderr: plan.log, cwd: TOP });
  const isReady = async (): Promise<boolean> =>
    readFileSync(plan.output)
      .subarray(from)
      .toString()
      .split("\n")
      .some((line) => parseReady(line) !== undefined);
  await eventually("the liar is ready", isReady, 60_000);
  return lie;
}
