/** A user's text inside a message: short, and nothing that could write into a terminal. */
export function shown(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, 64);
}
