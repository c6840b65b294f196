import { ok, type Result, refuse } from "../base/index.ts";
import type { Descriptor, Manifest, Platform } from "./manifest.ts";
import { printable } from "./printable.ts";

/** Node's names of processors in the words of images (Go's GOARCH). */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: "amd64",
  arm64: "arm64",
  arm: "arm",
  ia32: "386",
  ppc64: "ppc64le",
  s390x: "s390x",
  riscv64: "riscv64",
  loong64: "loong64",
};
/** What runs on an architecture when the image names a variant, best first. An empty one is always fine, and first but for arm. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = { amd64: ["", "v1"], arm64: ["v8", ""], arm: ["v7", "v6", "v5", ""] };

/** The platform of images for a host; `nodeArch` as `process.arch` gives it. */
export function platformOf(nodeArch: string): Platform {
  const architecture = ARCHITECTURES[nodeArch] ?? nodeArch;
  return { os: "linux", architecture, variant: variantsOf(architecture)[0] ?? "" };
}

function variantsOf(architecture: string): readonly string[] {
  return VARIANTS[architecture] ?? [""];
}

/** Which of an index's images runs here. Attestations and other operating systems are passed over. */
export function choosePlatform(index: Extract<Manifest, { kind: "index" }>, host: Platform): Result<Descriptor> {
  for (const variant of variantsOf(host.architecture)) {
    const entry = index.entries.find(({ platform }) => platform?.os === host.os && platform.architecture === host.architecture && platform.variant === variant);
    if (entry !== undefined) return ok(entry.descriptor);
  }
  const offered = index.entries.flatMap(({ platform }) => (platform === undefined || platform.os === "unknown" ? [] : [name(platform)]));
  const list = offered.length === 0 ? "no platform that it names" : printable([...new Set(offered)].join(", "));
  return refuse("IMAGE_NOT_FOUND", `the image is there for ${list}, not for ${name(host)}; choose another image or tag, or a host of another architecture`);
}

/** Whether an image of one platform runs here; images that say nothing are let through. */
export function checkPlatform(image: { readonly os: string; readonly architecture: string }, host: Platform): Result<undefined> {
  if ((image.os === "" || image.os === host.os) && (image.architecture === "" || image.architecture === host.architecture)) return ok(undefined);
  return refuse(
    "IMAGE_NOT_FOUND",
    `the image is for ${printable(`${image.os}/${image.architecture}`)}, not for ${name(host)}; choose another image or tag, or a host of another architecture`,
  );
}

const name = (platform: Platform): string => [platform.os, platform.architecture, platform.variant].filter((part) => part !== "").join("/");
