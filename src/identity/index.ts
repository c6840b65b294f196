/**
 * Who may do what: keys, signed requests, hosts' certificates, invites, and what revocations and removals leave of them.
 *
 * A mesh is its root key. Its hash is in every access token, so that a token alone tells a peer of this mesh from any other
 * server: the peer's TLS certificate carries the host's certificate, which leads from the root over admin keys to an invite,
 * to the invite key's word for this peer id, and to the countersignature of the peer that issued the invite and counts
 * its uses (`certificate`, `peer-certificate`). Everything else is a request that somebody signed: body, signature input and
 * signature (`request-signature`), read without generated code (`signed-body`), because the command line checks
 * certificates before its first byte.
 *
 * What a set of admin/ records amounts to is one pure function (`authority`): all ways from the root to each key are found,
 * and each way is judged by itself (`key-chains`). On a way, a revocation counts that is signed by the root, by a key above on
 * this very way, or by the key itself; what it does not list is void, and all below. So the order in which records arrive
 * changes nothing, nobody gets above a key by vouching for it, and a revocation is never undone. An admin/ record's id
 * contains the hash of what was signed: one request, one record, and nobody writes over another's. What users asked for is
 * judged by time instead (`user-records`): stamped before the key ended, it stays. `check-request` is the whole decision on an
 * incoming call, `nonces` what was already acted on, `act-journal` the same over a restart, `admission` the issuer's side of
 * a join, `member-standing` what is left of a certificate.
 *
 * Effects are in `drivers/`, imported by the peer only: `tls` (key file and certificate), `invite-ledger` (fsynced uses),
 * `act-journal`.
 *
 * Rejected: bearer tokens and shared secrets (a stolen host would have them all); certificates in X.509 chains (no use
 * counts, no requests inside, and Node's verification knows nothing of them); covering method and path in the signature
 * (a record would have to keep HTTP for ever: the body names the call); one parent per key by the earliest stamp (a peer
 * that lies about time would choose it); dominators in the graph of keys (a void key could add edges that undo a
 * revocation); pushing old nonces out when memory is full (a replay would only have to wait for it); @peculiar/x509 for one
 * certificate (a reflection polyfill and 2 MB for 90 lines of DER); structured-headers (three headers of one fixed form).
 */
export * from "./access.ts";
export * from "./act-journal.ts";
export * from "./admin-requests.ts";
export * from "./admission.ts";
export * from "./authority.ts";
export * from "./certificate.ts";
export * from "./check-request.ts";
export * from "./crypto.ts";
export * from "./encodings.ts";
export * from "./invite.ts";
export * from "./member-standing.ts";
export * from "./nonces.ts";
export * from "./peer-certificate.ts";
export * from "./peer-ids.ts";
export * from "./request-signature.ts";
export * from "./roles.ts";
export { bodyFormat } from "./signed-body.ts";
export * from "./stamps.ts";
export * from "./user-records.ts";
