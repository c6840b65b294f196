import { asCcError, CcError, type Clock, type ContainerId, type Logger, type Result, sleep, type VolumeId } from "../base/index.ts";
import type { AttachedVolume, VolumeDriver, VolumeOwner } from "./driver.ts";
import { isWorthTrimming } from "./size.ts";
import { mayAttach, mayCreate, roomInWords, type StoreStanding, volumeStanding } from "./standing.ts";

/** What the containers of a host need of its volumes. */
export type ContainerVolumes = Pick<VolumeDriver, "attach" | "takeOwner" | "release" | "users">;

export interface VolumeService extends ContainerVolumes {
  /** Makes the file system where there is none: to be called by the volume's holder before it is attached. Throws CcError NO_ROOM, CONFLICT. */
  ensureReady(id: VolumeId, sizeBytes: number): Promise<void>;
  standing(): Promise<StoreStanding>;
  start(): void;
  stop(): Promise<void>;
}

export type VolumeServiceDeps = { readonly driver: VolumeDriver; readonly clock: Clock; readonly logger: Logger };

/** A disk that fills is seen within this time. */
const LOOK_MS = 30_000;
/** Deleted files give their space back to the host within this time, or when the last container ends. */
const TRIM_MS = 3_600_000;

/** Keeps a host's volumes within its disk: says so early when they no longer fit, and gives back what is free in them. */
export function createVolumeService(deps: VolumeServiceDeps): VolumeService {
  return new Service(deps);
}

class Service implements VolumeService {
  readonly #deps: VolumeServiceDeps;
  readonly #stopping = new AbortController();
  #said: StoreStanding["kind"] = "ok";
  #running: Promise<void> | undefined;
  /** One create after another: each counts what the one before was promised. */
  #creating: Promise<unknown> = Promise.resolve();

  constructor(deps: VolumeServiceDeps) {
    this.#deps = deps;
  }

  ensureReady(id: VolumeId, sizeBytes: number): Promise<void> {
    const create = async (): Promise<void> => {
      if ((await this.#deps.driver.usage(id)) === undefined) throwRefusal(mayCreate(await this.standing(), sizeBytes));
      await this.#deps.driver.create(id, sizeBytes);
    };
    const mine = this.#creating.then(create, create);
    this.#creating = mine.catch(() => undefined); // Told to its caller.
    return mine;
  }

  async attach(id: VolumeId, user: ContainerId): Promise<AttachedVolume> {
    const usage = await this.#deps.driver.usage(id);
    if (usage !== undefined && usage.usedBytes === undefined) throwRefusal(mayAttach(await this.standing()));
    return this.#deps.driver.attach(id, user);
  }

  takeOwner(id: VolumeId, owner: VolumeOwner): Promise<void> {
    return this.#deps.driver.takeOwner(id, owner);
  }

  release(user: ContainerId): Promise<void> {
    return this.#deps.driver.release(user);
  }

  users(): readonly ContainerId[] {
    return this.#deps.driver.users();
  }

  async standing(): Promise<StoreStanding> {
    const { driver } = this.#deps;
    return volumeStanding(await driver.room(), await driver.list());
  }

  start(): void {
    this.#running ??= this.#loop();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #loop(): Promise<void> {
    const { clock, logger } = this.#deps;
    const { signal } = this.#stopping;
    let trimmedAtMs = clock.monotonicMs();
    while (!signal.aborted) {
      try {
        const tighter = await this.#look();
        if (tighter || clock.monotonicMs() - trimmedAtMs >= TRIM_MS) {
          trimmedAtMs = clock.monotonicMs();
          await this.#trim();
        }
      } catch (error) {
        logger.error({ error: asCcError(error) }, "the host's volumes could not be looked after; it is tried again");
      }
      await sleep(clock, LOOK_MS, signal).catch(() => undefined); // Stopped: the loop ends.
    }
  }

  /** Says in the log when volumes no longer fit, or fit again. True: it has just become tighter. */
  async #look(): Promise<boolean> {
    const { logger } = this.#deps;
    const standing = await this.standing();
    const { kind } = standing;
    const before = this.#said;
    if (kind === before) return false;
    this.#said = kind;
    const facts = { freeBytes: standing.freeBytes, promisedBytes: standing.promisedBytes, reserveBytes: standing.reserveBytes };
    if (kind === "ok") logger.info(facts, "the host's disk holds again what its volumes were promised");
    if (kind === "short") logger.warn(facts, `the host's disk does not hold what its volumes were promised, and no new one is made: ${roomInWords(standing)}`);
    if (kind === "full") logger.error(facts, `the disk below the host's volumes is full, and what is written to them will be lost: ${roomInWords(standing)}`);
    return kind === "full" || (kind === "short" && before === "ok");
  }

  async #trim(): Promise<void> {
    const { driver, logger } = this.#deps;
    for (const { id, users } of await driver.list()) {
      if (this.#stopping.signal.aborted) return;
      const usage = users.length === 0 ? undefined : await driver.usage(id);
      if (usage === undefined || !isWorthTrimming(usage)) continue;
      // The next volume is not to wait for this one's fault.
      await driver.trim(id).catch((error: unknown) => logger.warn({ volume: id, error: asCcError(error) }, "a volume's free space could not be given back"));
    }
  }
}

function throwRefusal(result: Result<undefined>): void {
  if (!result.ok) throw new CcError(result.code, result.message);
}
