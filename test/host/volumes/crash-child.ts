import { createShellHelper } from "../../../src/host/index.ts";
import { makeLoopScene, writeSynced } from "./harness.ts";
import type { newUser, newVolume } from "./new-ids.ts";

/**
 * A peer that will be killed: for `ID USER` on its standard input it takes a volume through its life again and again, a
 * line of its file more each time, and says what is done. With `SCRIPT WHEN` it kills itself around its n-th command instead.
 */
const [folder = "", script = "", when = ""] = process.argv.slice(2);
const scene = await makeLoopScene({ folder });
const shell = createShellHelper();
let scripts = 0;
const driver = await scene.openWith({
  shell: {
    ...shell,
    run: async (text, options) => {
      scripts += 1;
      const here = script === String(scripts);
      if (here && when === "before") process.kill(process.pid, "SIGKILL");
      const running = shell.run(text, options);
      // Handed to the shell, and on its way.
      if (here && when === "during") setTimeout(() => process.kill(process.pid, "SIGKILL"), 1);
      const outcome = await running;
      if (here && when === "after") process.kill(process.pid, "SIGKILL");
      return outcome;
    },
  },
});
process.stdout.write("ready\n");
process.stdin.once("data", (chunk: Buffer) => {
  const [id = "", user = ""] = chunk.toString().trim().split(" ");
  void live(id as ReturnType<typeof newVolume>, user as ReturnType<typeof newUser>);
});

async function live(id: ReturnType<typeof newVolume>, user: ReturnType<typeof newUser>): Promise<void> {
  for (let n = 1; n <= 50; n += 1) {
    await driver.create(id, 16 * 1024 ** 2);
    const { mountPoint } = await driver.attach(id, user);
    await driver.takeOwner(id, { uid: 1000, gid: 1000, mode: 0o750 });
    await writeSynced(mountPoint, `n${n}`, `${n}`);
    process.stdout.write(`wrote ${n}\n`);
    await driver.release(user);
    process.stdout.write(`released ${n}\n`);
    if (n % 3 === 0) {
      await driver.remove(id);
      process.stdout.write("removed\n");
    }
  }
}
