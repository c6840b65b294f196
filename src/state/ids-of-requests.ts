import {
  base32,
  type ContainerId,
  type FirewallRuleId,
  isContainerId,
  isFirewallRuleId,
  isVolumeId,
  isVpcId,
  type KeyId,
  type PeerId,
  type VolumeId,
  type VpcId,
} from "../base/index.ts";
import { sha256 } from "../identity/index.ts";

const ID_CHARACTERS = 20;

/** `c` and 20 characters of base32(SHA-256(key id, token)): a retry at any peer means the same container. */
export function containerIdOf(key: KeyId, token: string): ContainerId {
  const id = `c${base32(sha256(`cc-container-1\n${key}\n${token}`)).slice(0, ID_CHARACTERS)}`;
  if (!isContainerId(id)) throw new TypeError("a container's id is not one");
  return id;
}

/** `v` and the same of the key, the token and the peer that takes the create: its first holder, which nobody else can be. */
export function volumeIdOf(key: KeyId, token: string, acceptedBy: PeerId): VolumeId {
  const id = `v${base32(sha256(`cc-volume-1\n${key}\n${token}\n${acceptedBy}`)).slice(0, ID_CHARACTERS)}`;
  if (!isVolumeId(id)) throw new TypeError("a volume's id is not one");
  return id;
}

/** `n` and the same for a VPC: the accepting peer decided its split, which no other may have made for the same id. */
export function vpcIdOf(key: KeyId, token: string, acceptedBy: PeerId): VpcId {
  const id = `n${base32(sha256(`cc-vpc-1\n${key}\n${token}\n${acceptedBy}`)).slice(0, ID_CHARACTERS)}`;
  if (!isVpcId(id)) throw new TypeError("a VPC's id is not one");
  return id;
}

/** `f` and the same of key and token, as for a container: a rule has nothing that the accepting peer decides. */
export function firewallRuleIdOf(key: KeyId, token: string): FirewallRuleId {
  const id = `f${base32(sha256(`cc-firewall-rule-1\n${key}\n${token}`)).slice(0, ID_CHARACTERS)}`;
  if (!isFirewallRuleId(id)) throw new TypeError("a firewall rule's id is not one");
  return id;
}
