import type { ContainerId, PeerId } from "../../../src/base/index.ts";
import type { World } from "../world.ts";
import { liveHosts } from "./reach.ts";

/** Which claims of each host have ever counted there. */
export class OnceLive {
  readonly #world: World;
  readonly #seen = new Set<string>();

  constructor(world: World) {
    this.#world = world;
    world.watchers.onAskEnd.push(({ call, outcome }) => {
      if (call === "Run" && outcome === "done") this.look();
    });
  }

  look(): void {
    for (const { peer, life } of liveHosts(this.#world)) for (const { id } of life.core.view.claimsOf(peer)) this.#seen.add(`${peer} ${id}`);
  }

  has(holder: PeerId, id: ContainerId): boolean {
    return this.#seen.has(`${holder} ${id}`);
  }
}
