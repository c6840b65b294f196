import { CcError, type Result } from "../../base/index.ts";

/** A decision's value; its refusal is thrown, as the driver's interface has it. */
export function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new CcError(result.code, result.message);
}
