import { CcError, type Result } from "../../src/base/index.ts";

/** The value of a result that cannot be refused here; a refusal becomes the error that the user sees. */
export function must<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new CcError(result.code, result.message);
}
