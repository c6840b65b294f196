import { deserialize } from "node:v8";
import { type CommandOutcome, type PerlHelper, type ShellHelper, shellQuote } from "../../../src/base/index.ts";
import { createShellHelper } from "../../../src/host/index.ts";
import { createPortProgram } from "../../../src/vpc/drivers/overlay/port-program.ts";
import { openOverlay } from "../../../src/vpc/drivers/overlay.ts";
import { type AttachRequest, TRANSIT_CIDR } from "../../../src/vpc/index.ts";

export type CrashWork = {
  readonly netns: string;
  readonly runDir: string;
  readonly request: AttachRequest;
  /** The how manieth script, or request to the kept program, that changes something it does not survive. */
  readonly script: number;
  /** While the script is at work, which goes on; else after it. */
  readonly isDuring: boolean;
};

/** A peer that attaches and detaches a container until it kills itself. */
const work = deserialize(Buffer.from(process.argv[2] ?? "", "base64")) as CrashWork;
const inner = createShellHelper();
const program = createPortProgram();
let scripts = 0;

async function counted(run: () => Promise<CommandOutcome>): Promise<CommandOutcome> {
  const running = run();
  // The first one only opens; from then on they change something.
  const isHere = scripts > work.script;
  if (isHere && work.isDuring) setTimeout(() => process.kill(process.pid, "SIGKILL"), 2);
  const outcome = await running;
  if (isHere) process.kill(process.pid, "SIGKILL");
  return outcome;
}

const shell: ShellHelper = {
  run: async (script, options) => {
    if (!script.includes(".seen")) scripts += 1;
    return counted(() => inner.run(`nsenter --net=${shellQuote(work.netns)} sh -c ${shellQuote(script)}`, options));
  },
  close: () => inner.close(),
};
const asking: PerlHelper = {
  ask: (request, options) => {
    if (request.split("\n").length > 2) scripts += 1;
    return counted(() => program.ask(request, options));
  },
  close: () => program.close(),
};
const driver = await openOverlay({ shell, program: asking }, { runDir: work.runDir, transit: TRANSIT_CIDR });
for (;;) {
  await driver.detach(work.request.port.container);
  await driver.attach(work.request);
}
