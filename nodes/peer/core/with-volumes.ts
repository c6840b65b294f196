import type { ContainerRuntime } from "../../../src/containers/index.ts";
import type { VolumeHolder } from "../../../src/volumes/index.ts";

/** Before a container may be started its volumes are made ready on this host, on the word of the records that it holds them. */
export function withVolumes(runtime: ContainerRuntime, holder: Pick<VolumeHolder, "ready">): ContainerRuntime {
  return {
    ...runtime,
    start: async (spec, ...rest) => {
      await holder.ready(spec.volumes.map(({ id }) => id));
      return runtime.start(spec, ...rest);
    },
  };
}
