import { type ContainerId, ok, type PeerId, type Result, refuse, type VolumeId } from "../base/index.ts";
import { type CountedHolding, VOLUME_EPOCH_MAX, type VolumeView } from "../state/index.ts";

/** What a host knows of one volume when it decides about it. */
export type KnownVolume = {
  readonly self: PeerId;
  readonly id: VolumeId;
  readonly volume: VolumeView | undefined;
  /** Containers claimed here, or being claimed, that mount it; ended ones too, until they are gone. */
  readonly usersHere: readonly ContainerId[];
  /** Somebody deletes it: until he has, or his hold has lapsed, nobody gets it. */
  readonly isHeld: boolean;
};

/** What this host's own records say of it; undefined: it never had it, or was handed it and has not written so yet. */
export function ownHolding({ volume, self }: Pick<KnownVolume, "volume" | "self">): CountedHolding | undefined {
  return volume?.holdings.find(({ holder, epoch }) => holder === self && epoch === volume.epoch);
}

/** The bytes that a container's volume would take here on top of what is counted, or why it cannot be here. */
export function roomFor(known: KnownVolume): Result<{ readonly bytes: number; readonly isForeign: boolean }> {
  const { volume, self, usersHere } = known;
  const there = isThere(known);
  if (!there.ok || volume === undefined) return there.ok ? unknown(known.id) : there;
  if (volume.holder !== self && volume.state === "mounted") return refuse("CONFLICT", `volume ${nameOf(volume)} lies on another host`);
  const isCounted = usersHere.length > 0 || (volume.holder === self && volume.state === "mounted");
  return ok({ bytes: isCounted ? 0 : volume.sizeBytes, isForeign: volume.holder !== self });
}

/** Whether this holder gives a fresh volume to `to`, the host of its first container: `done` when it has already. */
export function decideHandOver(known: KnownVolume, to: PeerId): Result<"sign" | "done"> {
  const { volume, self, usersHere } = known;
  const there = isThere(known);
  if (!there.ok || volume === undefined) return there.ok ? unknown(known.id) : there;
  if (volume.holder === to) return ok("done");
  if (volume.holder !== self) return refuse("CONFLICT", `volume ${nameOf(volume)} was handed to another host meanwhile`);
  if (volume.state === "mounted") return refuse("CONFLICT", `volume ${nameOf(volume)} was mounted here already, and stays`);
  if (usersHere.length > 0) return refuse("CONFLICT", `volume ${nameOf(volume)} is used by ${usersHere[0]}, on the host that holds it`);
  if (volume.epoch >= VOLUME_EPOCH_MAX)
    return refuse("CONFLICT", `volume ${nameOf(volume)} was handed on ${VOLUME_EPOCH_MAX} times without being used; delete it and make another`);
  return ok("sign");
}

/** Whether this holder may promise that a volume is deleted: nothing here uses it, or could when it is started again. */
export function decideHold(known: Omit<KnownVolume, "isHeld">, nameOfUser: (id: ContainerId) => string): Result<"hold" | "gone"> {
  const { volume, self, usersHere } = known;
  if (volume?.gone === true) return ok("gone");
  if (volume === undefined) return unknown(known.id);
  if (volume.holder !== self) return refuse("CONFLICT", `volume ${nameOf(volume)} was handed to another host meanwhile; try again`);
  if (usersHere.length > 0) return refuse("IN_USE", inUse(volume, usersHere.map(nameOfUser)));
  return ok("hold");
}

function inUse(volume: VolumeView, users: readonly string[]): string {
  const shown = users.slice(0, 3).join(", ") + (users.length > 3 ? ` and ${users.length - 3} more` : "");
  return `volume ${nameOf(volume)} is in use by ${shown}; a container that has ended counts too, since it can be started again: remove it with cc rm first`;
}

function isThere({ id, volume, isHeld }: KnownVolume): Result<true> {
  if (volume === undefined) return unknown(id);
  if (volume.gone) return refuse("NOT_FOUND", `volume ${nameOf(volume)} was deleted`);
  if (volume.state === "lost") return refuse("CONFLICT", `volume ${nameOf(volume)} is lost with its host`);
  return isHeld ? refuse("CONFLICT", `volume ${nameOf(volume)} is being deleted`) : ok(true);
}

const unknown = (id: VolumeId) => refuse("NOT_FOUND", `there is no volume ${id}; cc volume list shows them`);
const nameOf = (volume: VolumeView): string => volume.name || volume.id;
