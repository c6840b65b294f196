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
