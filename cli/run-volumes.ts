import type { CloudClient } from "../src/api/client.ts";
import type { ContainerSpecMessage } from "../src/api/client-messages.ts";
import { CcError, isErrorCode } from "../src/base/index.ts";
import { notFound, resolveNames } from "./names.ts";

/** The spec with its volumes by id: a retry of what is signed can never mean another volume that took the name meanwhile. */
export async function withVolumeIds(client: CloudClient, spec: Partial<ContainerSpecMessage>): Promise<Partial<ContainerSpecMessage>> {
  const { volumes = [] } = spec;
  if (volumes.length === 0) return spec;
  const names = await resolveNames(
    client,
    "volume",
    volumes.map(({ volume }) => volume),
  );
  const [error] = [...names.errors, ...names.absent.map((item) => notFound("volume", item, names.notAsked))];
  if (error !== undefined) throw new CcError(isErrorCode(error.code) ? error.code : "NOT_FOUND", error.message);
  const ids = new Map(names.found.map(({ item, id }) => [item, id]));
  return { ...spec, volumes: volumes.map((mount) => ({ ...mount, volume: ids.get(mount.volume) ?? mount.volume })) };
}
