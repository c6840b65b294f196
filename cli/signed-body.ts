import { WRITE_CALLS } from "../src/api/client-messages.ts";
import { UsageError } from "./failure.ts";

/** The body of a call as JSON text: the user's fields, with addressing and, for changes, a token where none is given. */
export function signedBody(to: { readonly call: string; readonly mesh: string; readonly peer: string; readonly token: string }, fields: string): string {
  let given: unknown;
  try {
    given = JSON.parse(fields);
  } catch {
    throw new UsageError('the body is not JSON; give the request\'s fields as one object, for example {"all":true}');
  }
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw new UsageError('the body is not a JSON object; give the request\'s fields, for example {"all":true}');
  const { token, ...addressing } = to;
  const withToken = WRITE_CALLS.has(to.call) && !("token" in given) ? { token } : {};
  return JSON.stringify({ ...withToken, ...given, to: addressing });
}
