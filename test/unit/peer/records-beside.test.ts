import t from "tap";
import { createRecordsBeside } from "../../../nodes/peer/core/records-beside.ts";
import type { RecordFrame } from "../../../src/api/gen/cc/v1/records_pb.ts";
import { silentLogger } from "../../../src/base/index.ts";
import { StillClock, settle } from "../containers/fakes.ts";
import { peerId } from "../identity/fixtures.ts";
import { certificate, changes, claims, creates, Desk, grants, idOf } from "../state/view-fixtures.ts";

/** A host's files, which fail when they are told to. */
function scene(desk: Desk, here: readonly string[] = []) {
  const saved = new Map<string, readonly RecordFrame[]>();
  const noted = { saves: 0, fails: false };
  const clock = new StillClock();
  const beside = createRecordsBeside({
    self: peerId("peer 1"),
    files: {
      load: async () => new Map(saved),
      save: async (id, frames) => {
        if (noted.fails) throw new Error("no space left");
        noted.saves += 1;
        saved.set(id, frames);
      },
      remove: async (id) => void saved.delete(id),
    },
    replica: {
      list: (prefix) => desk.book.list(prefix),
      onChange: (listener) => {
        desk.listeners.add(listener);
        return () => desk.listeners.delete(listener);
      },
    },
    view: desk.view,
    here: async () => new Set(here),
    clock,
    log: silentLogger,
  });
  return { beside, saved, noted, clock };
}

const known = (): Desk => new Desk().take(certificate("peer 1"), certificate("peer 2"), grants("ann", "operator"));

t.test("what is held here is saved with the certificates of who stamped it, once, and goes with it", async (t) => {
  const desk = known();
  const { beside, saved, noted, clock } = scene(desk);
  const listening = desk.listeners.size;
  const stop = new AbortController();
  const keeping = beside.keep(stop.signal);
  await settle();
  const [web, far] = [creates("web", { at: "peer 2" }), creates("far")];
  const claim = claims("peer 1", web);
  desk.take(web, claim, far, claims("peer 2", far));
  await clock.advance(1_100);
  t.same([...saved.keys()], [idOf("web")], "what lies elsewhere is not this host's to keep");
  const wanted = [web, claim, ...desk.book.list("host/").filter(({ key }) => key.endsWith("/certificate/self"))];
  t.same(new Set(saved.get(idOf("web"))), new Set(wanted.map(({ frame }) => frame)));
  desk.take(claim);
  await clock.advance(1_100);
  t.equal(noted.saves, 1, "the same is not written twice");
  noted.fails = true;
  desk.take(changes("Stop", [idOf("web")]));
  await clock.advance(1_100);
  t.equal(noted.saves, 1);
  noted.fails = false;
  await clock.advance(1_100);
  t.equal(noted.saves, 2, "a disk that is full for a while is tried again");
  desk.take(changes("Remove", [idOf("web")]));
  await clock.advance(1_100);
  t.same([...saved.keys()], []);
  stop.abort();
  await settle();
  await keeping;
  t.equal(desk.listeners.size, listening);
});

t.test("after a start: files of what went meanwhile go, only what lies here is given back", async (t) => {
  const web = creates("web");
  const { beside, saved, clock } = scene(known().take(web, claims("peer 1", web)), [idOf("web"), idOf("lost")]);
  saved.set(idOf("old"), [web.frame]);
  saved.set(idOf("web"), [web.frame]);
  t.equal((await beside.load()).length, 1, "not that of a container which is not there");
  saved.set(idOf("lost"), [web.frame]);
  const stop = new AbortController();
  const keeping = beside.keep(stop.signal);
  await clock.advance(100);
  t.same([...saved.keys()].sort(), [idOf("web"), idOf("lost")].sort(), "what lies here and no record names keeps its file");
  t.ok((saved.get(idOf("web"))?.length ?? 0) > 1, "and brought up to date");
  stop.abort();
  await settle();
  await keeping;
});
