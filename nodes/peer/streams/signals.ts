import { decodeJson } from "../../../src/api/index.ts";
import { CcError } from "../../../src/base/index.ts";
import { signalName } from "../../../src/containers/index.ts";

/** The signal that a control frame asks for. Throws BAD_REQUEST for what is none. */
export function signalIn(payload: Uint8Array): string {
  const wanted = decodeJson(payload)["signal"];
  const name = typeof wanted === "string" ? signalName(wanted) : undefined;
  if (name === undefined) throw new CcError("BAD_REQUEST", "a control frame names a signal");
  return name;
}
