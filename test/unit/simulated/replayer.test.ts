import t from "tap";
import type { SeenRequest } from "../../../nodes/simulated/api.ts";
import { Replayer } from "../../../nodes/simulated/replayer.ts";
import type { World } from "../../../nodes/simulated/world.ts";

const HEAD = "signature-input: cc=();created=1";

const LIFE = {} as SeenRequest["life"];

/** Plays one request back as it was, so many times, to a peer that lets every copy in; gives what was found. */
async function played(fate: SeenRequest["fate"], times = 1, life: object = LIFE): Promise<string[]> {
  const found: string[] = [];
  const onRequest: ((request: SeenRequest) => void)[] = [];
  const world = {
    hosts: [{ name: "k1", life, time: { wentBack: false }, disk: { losses: 0, actsLost: new Set() } }],
    watchers: { onRequest },
    history: { add: () => undefined },
    violate: (invariant: string) => found.push(invariant),
    api: {
      exchange: async (...[, , , , , onLetIn]: Parameters<World["api"]["exchange"]>) => {
        onLetIn();
        return { status: 200, code: "" };
      },
    },
  };
  const replayer = new Replayer(world as never, { pick: <T>(items: readonly T[]) => items[0], below: () => 0, between: () => 0 } as never);
  for (const watch of onRequest) watch({ host: "k1", path: "/cc.v1.Cloud/Stop", head: HEAD, body: new Uint8Array(), life: LIFE, fate });
  for (let round = 0; round < times; round += 1) await replayer.once();
  return found;
}

t.test("a copy of what was let in, or is underway, is a second act", async (t) => {
  t.same(await played("let in"), ["once"]);
  t.same(await played("underway"), ["once"]);
});

t.test("of what its peer refused, one copy may be let in, and no second", async (t) => {
  t.same(await played("refused"), []);
  t.same(await played("refused", 2), ["once"]);
});

t.test("what was underway when its peer died was not let in", async (t) => {
  const later = {};
  t.same(await played("underway", 1, later), []);
  t.same(await played("underway", 2, later), ["once"]);
  t.same(await played("let in", 1, later), ["once"]);
});
