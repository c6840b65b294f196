import type { PlacementView } from "../../../src/placement/index.ts";
import type { View } from "../../../src/state/index.ts";

/** What placement asks of the records. */
export function placementView(view: View): PlacementView {
  return {
    container(id) {
      const container = view.container(id);
      if (container === undefined) return view.isGone(id) ? { request: undefined, best: undefined, highestEpoch: 0, removed: true } : undefined;
      const { body, signatureInput, signature } = container.request;
      return {
        request: { $typeName: "cc.v1.SignedRequest", body, signatureInput, signature },
        best: container.best,
        highestEpoch: container.highestEpoch,
        removed: container.gone,
      };
    },
    liveByName: (name) => view.byName(name),
    recordsOf: ({ volumes, vpc }) => {
      const holdings = volumes.flatMap((id) => view.volume(id)?.holdings.map(({ record }) => record) ?? []);
      return [...holdings, ...(vpc === undefined ? [] : view.recordsOf([vpc]))].map(({ frame }) => frame);
    },
    hosts: () => view.members().map(({ peer, name, zone }) => ({ peer, name, zone })),
  };
}
