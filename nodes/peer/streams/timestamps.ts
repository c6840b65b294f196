const NEWLINE = 0x0a;

/**
 * Puts the time (RFC 3339, UTC) before every line of one stream. A line that comes in parts gets one time: its first part's.
 * `lineIsOpen`: the first part of its first line came earlier.
 */
export function createTimestamper(lineIsOpen = false): (atMs: number, data: Uint8Array) => Uint8Array {
  let atLineStart = !lineIsOpen;
  return (atMs, data) => {
    const prefix = Buffer.from(`${new Date(atMs).toISOString()} `);
    const parts: Uint8Array[] = [];
    let from = 0;
    while (from < data.length) {
      const newline = data.indexOf(NEWLINE, from);
      const to = newline < 0 ? data.length : newline + 1;
      if (atLineStart) parts.push(prefix);
      parts.push(data.subarray(from, to));
      atLineStart = newline >= 0;
      from = to;
    }
    return Buffer.concat(parts);
  };
}
