import type { CloudClient } from "../src/api/client.ts";
import type { ContainerSpecMessage } from "../src/api/client-messages.ts";
import { CcError, isErrorCode } from "../src/base/index.ts";
import { type Kind, notFound, resolveNames } from "./names.ts";

/** The spec with its volumes and VPC by id: a retry of what is signed can never mean another thing that took the name meanwhile. */
export async function withIds(client: CloudClient, spec: Partial<ContainerSpecMessage>): Promise<Partial<ContainerSpecMessage>> {
  const { volumes = [], vpc } = spec;
  const idOf = async (kind: Kind, items: readonly string[]): Promise<ReadonlyMap<string, string>> => {
    if (items.length === 0) return new Map();
    const names = await resolveNames(client, kind, items);
    const [error] = [...names.errors, ...names.absent.map((item) => notFound(kind, item, names.notAsked))];
    if (error !== undefined) throw new CcError(isErrorCode(error.code) ? error.code : "NOT_FOUND", error.message);
    return new Map(names.found.map(({ item, id }) => [item, id]));
  };
  const volumeIds = await idOf(
    "volume",
    volumes.map(({ volume }) => volume),
  );
  const vpcIds = await idOf("vpc", vpc === undefined ? [] : [vpc]);
  return {
    ...spec,
    ...(volumes.length === 0 ? {} : { volumes: volumes.map((mount) => ({ ...mount, volume: volumeIds.get(mount.volume) ?? mount.volume })) }),
    ...(vpc === undefined ? {} : { vpc: vpcIds.get(vpc) ?? vpc }),
  };
}
