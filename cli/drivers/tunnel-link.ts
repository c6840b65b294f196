import type { CloudClient } from "../../src/api/client.ts";
import { errorOfEvent } from "../../src/api/client-stream.ts";
import { Channel, decodeFrame, decodeJson } from "../../src/api/streams.ts";
import { asCcError, CcError } from "../../src/base/index.ts";
import type { LocalParts, TunnelLink } from "../../src/tunnel/index.ts";

type Events = Parameters<TunnelLink["listen"]>[0];

/** The link of a tunnel: one stream call at whichever endpoint answers. */
export async function openTunnelLink(client: CloudClient, request: { readonly container: string; readonly port: number }): Promise<TunnelLink> {
  let events: Events | undefined;
  const early: ((events: Events) => void)[] = [];
  // Frames may come before anybody listens.
  const tell = (what: (events: Events) => void): void => {
    if (events === undefined) early.push(what);
    else what(events);
  };
  const channel = await client.channel("Tunnel", request, {
    frame: (bytes) => tell((to) => to.frame(bytes)),
    ended: (reason) => tell((to) => to.end(typeof reason === "string" ? new CcError("PEER_UNREACHABLE", reason) : asCcError(reason))),
  });
  let full = false;
  return {
    send(...parts) {
      if (channel.send(...parts)) return !full;
      if (!full) {
        full = true;
        void channel.drained().then(() => {
          full = false;
          events?.drained();
        });
      }
      return false;
    },
    listen(given) {
      events = given;
      for (const what of early.splice(0)) what(given);
    },
    close: () => channel.close(),
  };
}

/** What the host says about the container, or why the stream ends; undefined for what a later version adds. */
export const readTunnelEvent: LocalParts["readEvent"] = (bytes) => {
  const { channel, payload } = decodeFrame(bytes);
  if (channel !== Channel.event) return undefined;
  const event = decodeJson(payload);
  if (event["type"] === "error") return errorOfEvent(event);
  if (event["type"] !== "standing") return undefined;
  return { running: event["running"] === true, text: typeof event["text"] === "string" ? event["text"] : "" };
};
