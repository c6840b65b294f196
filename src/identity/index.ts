/**
 * Who may do what: keys, signed requests, certificates of hosts, invites, and what revocations and removals leave of them.
 */
export * from "./access.ts";
export * from "./admin-requests.ts";
export * from "./certificate.ts";
export * from "./crypto.ts";
export * from "./encodings.ts";
export * from "./invite.ts";
export * from "./peer-certificate.ts";
export * from "./peer-ids.ts";
export * from "./request-signature.ts";
export * from "./admission.ts";
export * from "./authority.ts";
export * from "./check-request.ts";
export * from "./member-standing.ts";
export * from "./nonces.ts";
export * from "./roles.ts";
export { bodyFormat, SIGNED_BODY_BYTES_MAX } from "./signed-body.ts";
export * from "./stamps.ts";
export * from "./user-records.ts";
