import { base32, type ContainerId, type VolumeId } from "../../../src/base/index.ts";
import { systemRandom } from "../../../src/host/index.ts";

export const newVolume = (): VolumeId => `v${base32(systemRandom.bytes(13)).slice(0, 20)}` as VolumeId;
export const newUser = (): ContainerId => `c${base32(systemRandom.bytes(13)).slice(0, 20)}` as ContainerId;
