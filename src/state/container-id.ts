import { base32, type ContainerId, isContainerId, type KeyId } from "../base/index.ts";
import { sha256 } from "../identity/index.ts";

const ID_CHARACTERS = 20;

/** `c` and 20 characters of base32(SHA-256(key id, token)): a retry at any peer means the same container. */
export function containerIdOf(key: KeyId, token: string): ContainerId {
  const id = `c${base32(sha256(`cc-container-1\n${key}\n${token}`)).slice(0, ID_CHARACTERS)}`;
  if (!isContainerId(id)) throw new TypeError("a container's id is not one");
  return id;
}
