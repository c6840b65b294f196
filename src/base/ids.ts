/** Branded nouns: parsed once at the edge, trusted inside. */
export type PeerId = string & { readonly brand: "PeerId" };
export type Zone = string & { readonly brand: "Zone" };
export type KeyId = string & { readonly brand: "KeyId" };
/** The mesh is its root key: base32 of the SHA-256 of the root's public key, first 160 bits, 32 characters. */
export type MeshId = string & { readonly brand: "MeshId" };
export type ContainerId = string & { readonly brand: "ContainerId" };
export type VolumeId = string & { readonly brand: "VolumeId" };
export type VpcId = string & { readonly brand: "VpcId" };
export type FirewallRuleId = string & { readonly brand: "FirewallRuleId" };
export type InviteId = string & { readonly brand: "InviteId" };
export type RecordKey = string & { readonly brand: "RecordKey" };

const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
const ZONE = /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/;
const KEY_ID = /^k[a-z2-7]{20}$/;
const MESH_ID = /^[a-z2-7]{32}$/;
const CONTAINER_ID = /^c[a-z2-7]{20}$/;
const VOLUME_ID = /^v[a-z2-7]{20}$/;
/** `n` for network: `v` is a volume's. */
const VPC_ID = /^n[a-z2-7]{20}$/;
const FIREWALL_RULE_ID = /^f[a-z2-7]{20}$/;
const INVITE_ID = /^i[a-z2-7]{20}$/;
/** Names of containers, hosts, keys: DNS labels, so that they can stand in the names of a VPC later. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const isPeerId = (text: string): text is PeerId => PEER_ID.test(text);
export const isZone = (text: string): text is Zone => ZONE.test(text);
export const isKeyId = (text: string): text is KeyId => KEY_ID.test(text);
export const isMeshId = (text: string): text is MeshId => MESH_ID.test(text);
export const isContainerId = (text: string): text is ContainerId => CONTAINER_ID.test(text);
export const isVolumeId = (text: string): text is VolumeId => VOLUME_ID.test(text);
export const isVpcId = (text: string): text is VpcId => VPC_ID.test(text);
export const isFirewallRuleId = (text: string): text is FirewallRuleId => FIREWALL_RULE_ID.test(text);
export const isInviteId = (text: string): text is InviteId => INVITE_ID.test(text);
export const isName = (text: string): boolean => NAME.test(text);

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/** Lower-case base32 (RFC 4648 alphabet) without padding. */
export function base32(bytes: Uint8Array): string {
  let text = "";
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32[(value >> bits) & 31];
    }
  }
  return bits > 0 ? text + BASE32[(value << (5 - bits)) & 31] : text;
}
