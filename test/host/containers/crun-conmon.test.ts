import { describeContainerExec } from "./exec-contract.ts";
import { leftovers, makeScene, newId } from "./harness.ts";
import { describeContainerRuntime, type RuntimeUnderTest } from "./runtime-contract.ts";

async function crunUnderConmon(): Promise<RuntimeUnderTest> {
  const scene = await makeScene();
  let last: { close(): Promise<void> } | undefined;
  return {
    image: scene.image,
    spec: scene.spec,
    newId,
    open: async () => {
      await last?.close();
      const runtime = await scene.open();
      last = runtime;
      return runtime;
    },
    commands: {
      printing: (stdout, stderr, exitCode) => ["sh", "-c", 'printf %s "$1"; printf %s "$2" >&2; exit $3', "sh", stdout, stderr, String(exitCode)],
      ticking: (ticks) => ["sh", "-c", `for n in $(seq ${ticks}); do echo tick; usleep 5000; done`],
      waiting: () => ["sh", "-c", "trap 'exit 143' TERM; echo ready; sleep 60 & wait"],
      deaf: () => ["sh", "-c", "trap '' TERM; echo ready; sleep 60; sleep 60"],
      echoing: () => ["cat"],
      missing: () => ["no-such-command"],
      notExecutable: () => ["/etc/not-executable"],
    },
    leftovers: () => leftovers(scene),
    close: () => scene.close(),
  };
}

describeContainerRuntime("crun under conmon", crunUnderConmon);
describeContainerExec("crun under conmon", crunUnderConmon);
