import t from "tap";
import type { ContainerId, PeerId, VolumeId } from "../../../src/base/index.ts";
import type { VolumeView } from "../../../src/state/index.ts";
import { decideHandOver, decideHold, type KnownVolume, roomFor } from "../../../src/volumes/decide.ts";

const self = "peer a" as PeerId;
const other = "peer b" as PeerId;
const id = "vaaaaaaaaaaaaaaaaaaaa" as VolumeId;
const web = "cwebaaaaaaaaaaaaaaaaa" as ContainerId;
const volume: VolumeView = {
  id,
  name: "data",
  sizeBytes: 100,
  zone: "a",
  keyId: "k" as VolumeView["keyId"],
  token: "t",
  request: {} as VolumeView["request"],
  createdAtMs: 0,
  holder: self,
  epoch: 1,
  state: "fresh",
  gone: false,
  holdings: [],
};
const known = (over: Partial<KnownVolume> = {}, view: Partial<VolumeView> = {}): KnownVolume => ({
  self,
  id,
  volume: { ...volume, ...view },
  usersHere: [],
  isHeld: false,
  ...over,
});

t.test("room: once for each volume here, and none for what cannot be here", async (t) => {
  t.same(roomFor(known()), { ok: true, value: { bytes: 100, isForeign: false } });
  t.same(roomFor(known({}, { holder: other })), { ok: true, value: { bytes: 100, isForeign: true } }, "a fresh one may come");
  t.same(roomFor(known({}, { state: "mounted" })), { ok: true, value: { bytes: 0, isForeign: false } }, "counted already");
  t.same(roomFor(known({ usersHere: [web] })), { ok: true, value: { bytes: 0, isForeign: false } });
  t.match(roomFor(known({}, { holder: other, state: "mounted" })), { ok: false, code: "CONFLICT", message: /another host/ });
  t.match(roomFor(known({ isHeld: true })), { ok: false, code: "CONFLICT", message: /being deleted/ });
  t.match(roomFor(known({}, { gone: true })), { ok: false, code: "NOT_FOUND" });
  t.match(roomFor(known({}, { state: "lost" })), { ok: false, code: "CONFLICT", message: /lost/ });
  t.match(roomFor(known({ volume: undefined })), { ok: false, code: "NOT_FOUND" });
});

t.test("hand-over: a fresh, unused volume, to one host; the same asked again is the same", async (t) => {
  t.same(decideHandOver(known(), other), { ok: true, value: "sign" });
  t.same(decideHandOver(known({}, { holder: other }), other), { ok: true, value: "done" });
  t.match(decideHandOver(known({}, { holder: "peer c" as PeerId }), other), { ok: false, code: "CONFLICT", message: /another host/ });
  t.match(decideHandOver(known({}, { state: "mounted" }), other), { ok: false, code: "CONFLICT", message: /stays/ });
  t.match(decideHandOver(known({ usersHere: [web] }), other), { ok: false, code: "CONFLICT", message: new RegExp(web) });
  t.match(decideHandOver(known({ isHeld: true }), other), { ok: false, code: "CONFLICT", message: /being deleted/ });
  t.match(decideHandOver(known({}, { epoch: 64 }), other), { ok: false, code: "CONFLICT", message: /64 times/ });
  t.match(decideHandOver(known({}, { gone: true }), other), { ok: false, code: "NOT_FOUND" });
});

t.test("a hold for a delete: only where nothing here uses it, or could when it is started again", async (t) => {
  const name = (user: ContainerId): string => (user === web ? "web" : user);
  t.same(decideHold(known(), name), { ok: true, value: "hold" });
  t.same(decideHold(known({}, { state: "mounted" }), name), { ok: true, value: "hold" });
  t.same(decideHold(known({}, { gone: true }), name), { ok: true, value: "gone" });
  t.match(decideHold(known({}, { holder: other }), name), { ok: false, code: "CONFLICT", message: /try again/ });
  t.match(decideHold(known({ usersHere: [web] }), name), { ok: false, code: "IN_USE", message: /data is in use by web; .* cc rm/ });
  const many = ["1", "2", "3", "4", "5"].map((user) => user as ContainerId);
  t.match(decideHold(known({ usersHere: many }), name), { message: /by 1, 2, 3 and 2 more;/ });
  t.match(decideHold(known({ volume: undefined }), name), { ok: false, code: "NOT_FOUND" });
});
