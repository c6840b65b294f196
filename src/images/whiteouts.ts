/** What the last part of a path says (OCI image specification, "Whiteouts"). */
export type Marker =
  | { readonly marks: "nothing" }
  /** The name beside the marker that lower layers no longer show. */
  | { readonly marks: "hidden"; readonly name: string }
  /** The marker's folder shows nothing of lower layers. */
  | { readonly marks: "opaque" }
  /** A leftover of the file system that the image was built on, or a name that hides nothing. */
  | { readonly marks: "rubbish" };

const PREFIX = ".wh.";
const OPAQUE = ".wh..wh..opq";
const RESERVED = ".wh..wh.";

export function markerOf(name: string): Marker {
  if (!name.startsWith(PREFIX)) return { marks: "nothing" };
  if (name === OPAQUE) return { marks: "opaque" };
  const hidden = name.slice(PREFIX.length);
  if (name.startsWith(RESERVED) || hidden === "" || hidden === "." || hidden === "..") return { marks: "rubbish" };
  return { marks: "hidden", name: hidden };
}
