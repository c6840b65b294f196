import { eventually, withLab } from "./lab.ts";

type Container = { readonly id: string; readonly name: string; readonly phase: string; readonly hostName: string; readonly exitCode?: number };
const HOSTS = [1, 2, 3];

withLab("from nothing to a container on three hosts", { hosts: 3, zones: "a,a,b" }, async (t, lab) => {
  const image = await lab.image();

  await t.test("through every peer: output, apart, and the exit status", async (t) => {
    for (const host of HOSTS) {
      const outcome = await lab.cc(["run", "--image", image, "--", "sh", "-c", "echo out; echo err >&2; exit 7"], { host });
      t.equal(outcome.code, 7, `through host ${host}: ${outcome.stderr}`);
      t.equal(outcome.stdout, "out\n");
      t.match(outcome.stderr, /^err$/m);
    }
  });

  await t.test("every peer gives the same answer, at once for who asked for it", async (t) => {
    const id = (
      await lab.cc(["run", "--detach", "--name", "clock", "--image", image, "--", "sh", "-c", "while :; do echo tick; sleep 1; done"], { host: 2 })
    ).stdout.trim();
    for (const host of HOSTS) {
      const list = await lab.json<Container[]>(["ps"], { host });
      t.same(
        list.map((container) => [container.id, container.name]),
        [[id, "clock"]],
        `host ${host}`,
      );
    }
    const [status] = await eventually("the container runs", async () => {
      const found = await lab.json<Container[]>(["status", "clock"]);
      return found[0]?.phase === "running" && found;
    });
    const other = HOSTS.find((host) => `h${host}` !== status?.hostName) ?? 1;
    t.match(
      await eventually("its log", async () => (await lab.cc(["logs", "clock"], { host: other })).stdout),
      /^tick$/m,
      "its log at a peer that does not hold it",
    );
    t.equal((await lab.cc(["rm", "--force", id], { host: other })).code, 0);
    for (const host of HOSTS) t.same(await lab.json(["ps"], { host }), [], `gone at host ${host}`);
  });
});
