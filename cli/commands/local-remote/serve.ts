import * as Flags from "@oclif/core/flags";
import { CcError } from "../../../src/base/index.ts";
import { listenLocally } from "../../../src/tunnel/drivers/local-listener.ts";
import { formatAddress, parseBind, serveLocal } from "../../../src/tunnel/index.ts";
import { CloudCommand } from "../../cloud-command.ts";
import { systemClock } from "../../drivers/clock.ts";
import { openTunnelLink, readTunnelEvent } from "../../drivers/tunnel-link.ts";
import { ExitCode, usable } from "../../failure.ts";
import { notFound, resolveNames } from "../../names.ts";
import { plainText } from "../../terminal.ts";

const ENDING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export default class LocalRemoteServe extends CloudCommand {
  static override summary = "Lead a local TCP port to a port of a container, wherever it runs, until interrupted.";
  static override description =
    "Prints the address once it listens. The container's own loopback is reached, too. While the container does not run, or cannot be reached, connections are refused and stderr says so; they are served again when it is back, also on another host. Interrupted (Ctrl-C, SIGTERM), it takes no more connections, gives open ones 5 seconds to end, and ends with 0; a second Ctrl-C ends it at once.";
  static override examples = [
    "<%= config.bin %> local-remote serve --container-id db --container-port 5432 --bind 127.0.0.1:5432",
    "<%= config.bin %> local-remote serve --container-id web --container-port 80 --bind '[::1]:0'",
  ];
  static override flags = {
    "container-id": Flags.string({ helpValue: "CONTAINER", required: true, description: "id or name" }),
    "container-port": Flags.integer({ min: 1, max: 65_535, required: true, description: "the container's TCP port" }),
    bind: Flags.string({
      helpValue: "[ADDRESS:]PORT",
      required: true,
      description: "where to listen on this machine; without an address 127.0.0.1, port 0 picks a free one",
    }),
  };

  override async run(): Promise<number> {
    const { flags } = await this.parse(LocalRemoteServe);
    const bind = usable(parseBind(flags.bind));
    const { client } = this.connect(flags);
    try {
      const { found, errors, notAsked } = await resolveNames(client, "container", [flags["container-id"]]);
      const container = found[0]?.id;
      if (container === undefined) return this.reportErrors(errors.length > 0 ? errors : [notFound("container", flags["container-id"], notAsked)]);
      const target = { name: plainText(flags["container-id"]), port: flags["container-port"] };
      const { stop, kill, release } = interruptions();
      try {
        await serveLocal(
          {
            open: () => openTunnelLink(client, { container, port: target.port }),
            readEvent: readTunnelEvent,
            listen: listenLocally,
            clock: systemClock,
            chance: () => Math.random(),
            say: (text) => this.note(`${new Date().toISOString()} ${text}`),
            listening: (at) => (flags.json ? this.printJson({ ...at, container }) : this.print(formatAddress(at))),
          },
          bind,
          target,
          stop,
          kill,
        );
      } finally {
        release();
      }
      return ExitCode.done;
    } finally {
      client.close();
    }
  }
}

/** The first interruption stops, the second kills. */
function interruptions(): { readonly stop: AbortSignal; readonly kill: AbortSignal; readonly release: () => void } {
  const stop = new AbortController();
  const kill = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) kill.abort();
    stop.abort(new CcError("CANCELLED", `interrupted by ${signal}`));
  };
  for (const signal of ENDING) process.on(signal, onSignal);
  return {
    stop: stop.signal,
    kill: kill.signal,
    release: () => {
      for (const signal of ENDING) process.off(signal, onSignal);
    },
  };
}
