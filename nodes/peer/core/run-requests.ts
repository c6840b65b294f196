import { create, toBinary } from "@bufbuild/protobuf";
import { ContainerSpecSchema, type RunRequest, RunRequestSchema, type ContainerSpec as SpecMessage } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { decodeBody } from "../../../src/api/index.ts";
import {
  asCcError,
  type ContainerId,
  isPeerId,
  isVolumeId,
  isVpcId,
  isZone,
  type MeshId,
  ok,
  type PeerId,
  type Result,
  refuse,
} from "../../../src/base/index.ts";
import { type ContainerSpec, specFromRequest } from "../../../src/containers/index.ts";
import { type Authority, checkRequest, readAddressing, requestParameters, type SignedRequest, sha256, type Verifier } from "../../../src/identity/index.ts";
import { parseImageReference } from "../../../src/images/index.ts";
import { containerIdOf, type RunAsked, type RunRequests } from "../../../src/placement/index.ts";
import { parsePublishedPorts } from "../../../src/ports/index.ts";
import type { MeshTime } from "./mesh-time.ts";

const TOKEN = /^[A-Za-z0-9_-]{8,128}$/;

/** A Run request, read whole: what the user asked for, and the container that it would be. */
export type RunRead = {
  readonly asked: RunAsked;
  readonly message: SpecMessage;
  readonly spec: ContainerSpec;
  readonly attach: boolean;
  readonly explain: boolean;
};

export type RunRequestsParts = {
  readonly self: PeerId;
  readonly meshId: MeshId;
  readonly time: Pick<MeshTime, "nowMs" | "startedAtMs">;
  readonly verifier: Verifier;
  readonly authority: () => Authority;
};

/** A request object never changes, and lives as long as the record that it was read from: so does what it says. */
const read = new WeakMap<SignedRequest, Result<RunRead>>();

/** What a signed Run request says, whatever its age. Refusals are fit for the user. */
export function readRun(request: SignedRequest): Result<RunRead> {
  const known = read.get(request) ?? readRunAnew(request);
  read.set(request, known);
  return known;
}

function readRunAnew(request: SignedRequest): Result<RunRead> {
  const parameters = requestParameters(request.signatureInput);
  if (!parameters.ok) return parameters;
  const to = readAddressing(request.body);
  if (!to.ok) return to;
  if (to.value.call !== "Run" || !isPeerId(to.value.peer)) return refuse("BAD_REQUEST", "this is not a Run request");
  let body: RunRequest;
  try {
    body = decodeBody(RunRequestSchema, request.body);
  } catch (thrown) {
    const error = asCcError(thrown);
    return refuse(error.code, error.message);
  }
  const { keyId, nonce, createdS } = parameters.value;
  if (!TOKEN.test(body.token)) return refuse("BAD_REQUEST", "the token of a run is 8 to 128 letters, digits, - or _");
  const message = body.spec ?? create(ContainerSpecSchema);
  const checked = checkSpec(containerIdOf(keyId, body.token), message);
  if (!checked.ok) return checked;
  const spec = checked.value;
  const asked: RunAsked = {
    key: keyId,
    token: body.token,
    nonce,
    signedAtMs: createdS * 1_000,
    addressedTo: to.value.peer,
    requirements: {
      name: spec.name,
      image: spec.image,
      memoryBytes: spec.memoryBytes,
      diskBytes: spec.diskBytes,
      cpuShares: spec.cpuShares,
      labels: spec.labels,
      host: message.host,
      zone: message.zone,
      volumes: [...new Set(message.volumes.map(({ volume }) => volume).filter(isVolumeId))],
      vpc: isVpcId(message.vpc) ? message.vpc : undefined,
      publish: message.publish,
      publishEverywhere: message.publishEverywhere,
    },
    askedBefore: body.askedBefore.filter(isPeerId),
    spec: fingerprint(message),
  };
  return ok({ asked, message, spec, attach: body.attach, explain: body.explain });
}

function checkSpec(id: ContainerId, message: SpecMessage): Result<ContainerSpec> {
  const spec = specFromRequest(id, message);
  if (!spec.ok) return spec;
  const reference = parseImageReference(message.image);
  if (!reference.ok) return reference;
  if (message.zone !== "" && !isZone(message.zone)) return refuse("BAD_REQUEST", `"${message.zone}" is not a zone; cc host list shows zones`);
  if (message.vpc !== "" && !isVpcId(message.vpc)) return refuse("BAD_REQUEST", `"${message.vpc}" is no id of a VPC; cc vpc list shows them`);
  const ports = parsePublishedPorts(message.publish, message.publishEverywhere);
  if (!ports.ok) return ports;
  if (message.publish.length === 0 && (message.publishEverywhere || message.forward))
    return refuse("BAD_REQUEST", "no port is published: --publish-on and --forward say more about --publish");
  return spec;
}

/** The same spec gives the same text in every encoding: maps are sorted, since protobuf does not order them. */
function fingerprint(message: SpecMessage): string {
  const sorted = (map: Record<string, string>): Record<string, string> => Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
  const bytes = toBinary(ContainerSpecSchema, { ...message, env: sorted(message.env), labels: sorted(message.labels) });
  return Buffer.from(sha256(bytes)).toString("base64url");
}

/** Placement's view of users' requests: identity's checks and the containers' rules together. */
export function createRunRequests(parts: RunRequestsParts): RunRequests {
  return {
    check: async (request) => {
      const { self, meshId, time, verifier } = parts;
      const context = {
        call: "Run",
        meshId,
        self,
        from: { addressed: "any" },
        nowMs: time.nowMs(),
        startedAtMs: time.startedAtMs(),
        authority: parts.authority(),
        verifier,
      } as const;
      const checked = checkRequest(request, context);
      if (!checked.ok) return checked;
      return askedIn(request);
    },
    read: askedIn,
  };
}

function askedIn(request: SignedRequest): Result<RunAsked> {
  const run = readRun(request);
  return run.ok ? ok(run.value.asked) : run;
}

/** Whether a key may see what only operators may. */
export const seesSecrets = (role: string): boolean => role === "operator" || role === "admin";
