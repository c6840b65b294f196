/** What the machine says of itself, line by line; its last line is all that the outside believes. */
let passed = 0;
let failed = 0;

export function check(what: string, isSo: boolean, otherwise = ""): void {
  if (isSo) passed += 1;
  else failed += 1;
  console.log(`${isSo ? "ok     " : "FAILED "}${what}${isSo || otherwise === "" ? "" : `: ${otherwise}`}`);
}

export function tell(line: string): void {
  console.log(`       ${line}`);
}

export const closingLine = (): string => `${passed} passed, ${failed} failed`;
