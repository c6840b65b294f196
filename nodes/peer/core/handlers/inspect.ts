import type { MessageInitShape } from "@bufbuild/protobuf";
import type { InspectionSchema } from "../../../../src/api/gen/cc/v1/cloud_pb.ts";
import type { Role } from "../../../../src/api/index.ts";
import type { KeyId, PeerId } from "../../../../src/base/index.ts";
import type { ContainerView } from "../../../../src/state/index.ts";
import type { AskAround } from "../ask-around.ts";
import { seesSecrets } from "../run-requests.ts";
import { catchUp } from "../seen.ts";
import { containerState } from "./container-state.ts";
import { type ItemErrorInit, withNotAsked } from "./item-error.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { findContainers } from "./reads.ts";

/** Everything that the records say of containers, beside what ContainerStatus gives. */
export function inspectHandlers(parts: HandlerParts, askAround: AskAround): Some<"inspect"> {
  const { view } = parts;
  const hostName = (peer: PeerId): string => view.member(peer)?.name ?? "";
  const asked = (call: string, key: KeyId, stampedAtMs: number, stampedBy: string) => ({
    call,
    key,
    keyName: view.authority().keys.get(key)?.name ?? "",
    stampedAtMs,
    stampedBy,
  });

  const inspection = (container: ContainerView, role: Role): MessageInitShape<typeof InspectionSchema> => {
    const { spec, wanted } = container;
    const secrets = seesSecrets(role);
    return {
      status: containerState(parts, container, role),
      // All that the message has, also what this file has not heard of; of a registry's password only that there is a user.
      spec: { ...spec, registryPassword: "", registryUser: secrets ? spec.registryUser : "", env: secrets ? spec.env : {} },
      created: asked("Run", container.keyId, container.createdAtMs, container.claims[0]?.create.record.writer ?? ""),
      ...(wanted === undefined ? {} : { wanted: asked(wanted.call, wanted.keyId, wanted.version.major, wanted.record.writer) }),
      claims: container.claims.map(({ holder, epoch, claim, phase }) => ({
        host: holder,
        hostName: hostName(holder),
        epoch,
        warrant: claim.warrant?.kind.case ?? "",
        claimedAtMs: claim.claimedAtMs,
        phase: phase?.phase ?? "",
        counts: container.best?.holder === holder && container.best.epoch === epoch,
      })),
    };
  };

  return {
    inspect: async (request, { caller }) => {
      await catchUp(parts, request.to);
      const { found, notAsked } = await findContainers(parts, askAround, request.containers);
      const containers = found.flatMap((one) => ("container" in one ? [inspection(one.container, caller.role)] : []));
      const errors: ItemErrorInit[] = found.flatMap((one) => ("error" in one ? [withNotAsked(one.error, notAsked)] : []));
      return { containers, errors };
    },
  };
}
