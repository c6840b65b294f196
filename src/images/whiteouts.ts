/** What to do about one marker file of a layer (OCI image specification, "Whiteouts"). Paths are bytes: file names are not always UTF-8. */
export type WhiteoutStep =
  /** The marker goes; `hides` becomes an overlay whiteout, a character device 0:0 (or, is it a folder of this layer, opaque). */
  | { readonly step: "hide"; readonly marker: Buffer; readonly hides: Buffer }
  /** The marker goes; `folder` shows nothing of lower layers. */
  | { readonly step: "opaque"; readonly marker: Buffer; readonly folder: Buffer }
  /** A leftover of the file system that the image was built on. */
  | { readonly step: "drop"; readonly marker: Buffer };

const SLASH = 0x2f;
const PREFIX = Buffer.from(".wh.");
const OPAQUE = Buffer.from(".wh..wh..opq");
const RESERVED = Buffer.from(".wh..wh.");

/** From the list that `find -name '.wh.*' -printf '%P\0'` gives: relative paths, each ended by a zero byte. */
export function planWhiteouts(list: Uint8Array): readonly WhiteoutStep[] {
  const bytes = Buffer.from(list);
  const steps: WhiteoutStep[] = [];
  for (let start = 0, end = bytes.indexOf(0); end >= 0; start = end + 1, end = bytes.indexOf(0, start)) {
    const marker = bytes.subarray(start, end);
    const slash = marker.lastIndexOf(SLASH);
    const name = marker.subarray(slash + 1);
    if (!startsWith(name, PREFIX)) continue;
    const hidden = name.subarray(PREFIX.length);
    const text = hidden.toString("latin1");
    if (name.equals(OPAQUE)) steps.push({ step: "opaque", marker, folder: slash < 0 ? Buffer.from(".") : marker.subarray(0, slash) });
    else if (startsWith(name, RESERVED) || text === "" || text === "." || text === "..") steps.push({ step: "drop", marker });
    else steps.push({ step: "hide", marker, hides: Buffer.concat([marker.subarray(0, slash + 1), hidden]) });
  }
  return steps;
}

function startsWith(bytes: Buffer, prefix: Buffer): boolean {
  return bytes.subarray(0, prefix.length).equals(prefix);
}
