const PRINTABLE_CHARS_MAX = 160;
/** Text from outside, fit for one line of an error. */
export function printable(text: string): string {
  const line = text.replaceAll(/[^\x20-\x7e]+/g, " ");
  return line.length > PRINTABLE_CHARS_MAX ? `${line.slice(0, PRINTABLE_CHARS_MAX)}...` : line;
}
