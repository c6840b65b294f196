import t from "tap";
import { silentLogger, type VolumeId } from "../../../src/base/index.ts";
import { VolumeHolder, type VolumeHolderParts } from "../../../src/volumes/index.ts";

t.test("a host that has not synced yet promises no delete: what uses the volume may not be known here", async (t) => {
  const seen = (): never => {
    throw new Error("nothing is decided before the records are there");
  };
  const parts: VolumeHolderParts = {
    mesh: { self: "peer a", handle: () => undefined },
    view: { volume: seen, volumes: seen, container: seen },
    files: {},
    log: silentLogger,
  } as never;
  t.match(new VolumeHolder(parts).hold("vaaaaaaaaaaaaaaaaaaaa" as VolumeId, "a request"), { ok: false, code: "STARTING" });
});
