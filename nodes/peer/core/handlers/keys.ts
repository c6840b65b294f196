import { CcError, isKeyId, isName } from "../../../../src/base/index.ts";
import { fromBase64Url, keyIdOf, mayRevoke } from "../../../../src/identity/index.ts";
import type { HandlerParts, Some } from "./parts.ts";
import { lastSignedMs, mustHaveToken, writeAdmin } from "./writes.ts";

/** Access keys: who may ask for what. Admins sign further ones; a key is ended by itself, by one above it, or by the root. */
export function keyHandlers(parts: HandlerParts): Some<"whoAmI" | "createKey" | "listKeys" | "revokeKey"> {
  const { view } = parts;
  return {
    whoAmI: async (_request, { caller }) => ({
      key: caller.keyId,
      role: caller.role,
      name: view.authority().keys.get(caller.keyId)?.name ?? "",
      peer: parts.self,
      mesh: parts.meshId,
    }),

    createKey: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      const publicKey = fromBase64Url(request.publicKey);
      if (publicKey?.length !== 32) throw new CcError("BAD_REQUEST", "public_key is the base64url of an Ed25519 public key's 32 bytes");
      if (!["viewer", "operator", "admin"].includes(request.role))
        throw new CcError("BAD_REQUEST", `"${request.role}" is not a role; choose viewer, operator or admin`);
      if (request.name !== "" && !isName(request.name)) throw new CcError("BAD_REQUEST", `"${request.name}" is not a name: a to z, 0 to 9 and -, at most 63`);
      const id = keyIdOf(publicKey);
      const known = view.authority().keys.get(id);
      if (known !== undefined && known.state !== "live") throw new CcError("CONFLICT", `the key ${id} was revoked, which is final; make a new one`);
      const taken = [...view.authority().keys.values()].find(
        (key) => request.name !== "" && key.name === request.name && key.keyId !== id && key.state === "live",
      );
      if (taken !== undefined) throw new CcError("NAME_TAKEN", `the key ${taken.keyId} has the name ${request.name}; choose another, or revoke that one first`);
      return { id, ...(await writeAdmin(parts, caller, signal)) };
    },

    listKeys: async () => ({
      keys: [...view.authority().keys.values()]
        .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.keyId < b.keyId ? -1 : 1))
        .map((key) => ({
          id: key.keyId,
          name: key.name,
          role: key.role,
          signedBy: key.signedBy ?? "",
          createdAtMs: key.createdAtMs,
          revoked: key.state !== "live",
          revokedAtMs: key.endedAtMs ?? 0,
          signed: [...(view.authority().signed.get(key.keyId) ?? [])],
        })),
    }),

    revokeKey: async (request, { caller, signal }) => {
      mustHaveToken(request.token);
      const authority = view.authority();
      if (!isKeyId(request.key)) throw new CcError("BAD_REQUEST", `"${request.key}" is not a key's id; cc key list shows them`);
      const key = authority.keys.get(request.key);
      if (key === undefined) throw new CcError("NOT_FOUND", `there is no key ${request.key}; cc key list shows them`);
      const signed = authority.signed.get(request.key) ?? [];
      const kept = request.keepAll ? signed : signed.filter((record) => request.keep.includes(record));
      // Its own second word changes nothing; a key above may still shorten the list of what stays.
      if (key.state !== "live" && caller.keyId === request.key) return { wrote: [], copies: 0, kept: [...kept] };
      if (!mayRevoke(authority, caller.keyId, request.key)) {
        throw new CcError("FORBIDDEN", `only the key itself, a key above it or the root revokes ${request.key}; the root signs with --recovery-key-file`);
      }
      return { ...(await writeAdmin(parts, caller, signal, lastSignedMs(parts.replica, request.key))), kept: [...kept] };
    },
  };
}
