import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { CcError } from "../../src/base/index.ts";
import type { LabLayout } from "./layout.ts";
import { run } from "./machine.ts";
import { registryName } from "./registry.ts";

const PASSWD = `root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
`;
const GROUP = "root:x:0:\nnogroup:x:65534:\nstaff:x:50:app\napp:x:1000:\n";
const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** Puts an image into the lab's registry, from a source of skopeo's (`oci:DIR:tag`) or the busybox one. Gives its reference. */
export async function pushImage(layout: LabLayout, subnet: string, image: string, from: string | undefined, withPassword: boolean): Promise<string> {
  const reference = `${registryName(subnet, withPassword)}/${/:[^/]*$/.test(image) ? image : `${image}:latest`}`;
  const source = from ?? `oci:${await buildBusybox(layout)}:latest`;
  const login = withPassword ? ["--dest-creds", "lab:lab"] : [];
  await run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", ...login, source, `docker://${reference}`], { timeoutMs: 300_000 });
  return reference;
}

/** Makes the busybox image as an OCI layout, once a lab; the same bytes every time. */
async function buildBusybox(layout: LabLayout): Promise<string> {
  const target = join(layout.folder, "images/busybox");
  if (existsSync(target)) return target;
  const work = `${target}.new`;
  rmSync(work, { recursive: true, force: true });
  const root = join(work, "root");
  await fillRoot(root);
  const packed = join(work, "layer.tar");
  await run(["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-C", root, "-cf", packed, "."]);
  await run([
    "tar",
    "--mtime=@0",
    "--owner=1000",
    "--group=1000",
    "--numeric-owner",
    "--transform=s,^,./home/,",
    "-C",
    join(work, "home"),
    "-rf",
    packed,
    "app",
  ]);
  writeLayout(work, readFileSync(packed));
  for (const scratch of [root, join(work, "home"), packed]) rmSync(scratch, { recursive: true, force: true });
  renameSync(work, target);
  return target;
}

async function fillRoot(root: string): Promise<void> {
  const busybox = ["/bin/busybox", "/usr/bin/busybox"].find((path) => existsSync(path));
  if (busybox === undefined) throw new CcError("NOT_FOUND", "busybox-static is not installed: run scripts/setup");
  for (const folder of ["bin", "usr/bin", "etc", "root", "tmp", "var/tmp", "proc", "sys", "dev", "home"]) mkdirSync(join(root, folder), { recursive: true });
  mkdirSync(join(root, "../home/app"), { recursive: true });
  chmodSync(join(root, "root"), 0o700);
  for (const folder of ["tmp", "var/tmp"]) chmodSync(join(root, folder), 0o1777);
  copyFileSync(busybox, join(root, "bin/busybox"));
  chmodSync(join(root, "bin/busybox"), 0o755);
  const applets = (await run([busybox, "--list"])).stdout.split("\n").filter((name) => name !== "" && name !== "busybox");
  for (const applet of applets) symlinkSync("busybox", join(root, "bin", applet));
  symlinkSync("../../bin/env", join(root, "usr/bin/env"));
  writeFileSync(join(root, "etc/passwd"), PASSWD);
  writeFileSync(join(root, "etc/group"), GROUP);
}

type Descriptor = { readonly mediaType: string; readonly digest: string; readonly size: number };

/** An OCI image layout of one layer (a tar archive), tagged `latest`. */
export function writeLayout(folder: string, layer: Buffer): void {
  const blobs = join(folder, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
  const put = (mediaType: string, content: Buffer | object): Descriptor => {
    const bytes = Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
    const digest = sha256(bytes);
    writeFileSync(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const config = put("application/vnd.oci.image.config.v1+json", {
    created: "1970-01-01T00:00:00Z",
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: "linux",
    config: { Env: [PATH], Cmd: ["/bin/sh"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
    history: [{ created: "1970-01-01T00:00:00Z", created_by: "scripts/lab image" }],
  });
  const layers = [put("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(layer))];
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = put(mediaType, { schemaVersion: 2, mediaType, config, layers });
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations: { "org.opencontainers.image.ref.name": "latest" } }] };
  writeFileSync(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(join(folder, "index.json"), JSON.stringify(index));
}
