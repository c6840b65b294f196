import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { buildImage, busyboxImage, writeOciLayout } from "../host/images/oci-layout.ts";
import { eventually, type TestLab, withLab } from "./lab.ts";

type Pushed = { readonly reference: string; readonly digest: string; readonly copies: number; readonly sentBlobs: number; readonly sentBytes: number };
type Image = { readonly references: string[]; readonly digest: string; readonly hosts: string[]; readonly usedBy: string[] };
const HOSTS = [1, 2, 3];
const hex = (digest: string): string => digest.slice("sha256:".length);

/** What lies in a part of a host's image folder: `b` blobs, `u` what is on its way, `h` names of uploads, `i` unpacked images. */
function lies(lab: TestLab, host: number, part: "b" | "u" | "h" | "i"): string[] {
  return readdirSync(join(lab.folder, "hosts", `h${host}`, "data/images", part));
}

/** Writes an image in another form, as people do. */
function copy(from: string, to: string): void {
  execFileSync("skopeo", ["--insecure-policy", "copy", "--quiet", from, to]);
}

withLab("images without a registry", { hosts: 3 }, async (t, lab) => {
  const work = join(lab.folder, "test/images");
  mkdirSync(work, { recursive: true });
  const image = await busyboxImage();
  const web = join(work, "web");
  await writeOciLayout(web, image, "latest");
  const bytes = [...image.blobs.values(), image.manifest].reduce((sum, blob) => sum + blob.length, 0);
  const registryImage = await lab.image("lib/known");
  t.equal((await lab.cc(["run", "--rm", "--host", "h1", "--image", registryImage, "true"])).code, 0);
  const known = (await lab.json<Image[]>(["image", "list"])).find(({ references }) => references.some((text) => text.includes("lib/known")));
  await lab.must("registry", "stop");
  let pushed: Pushed | undefined;

  await t.test("an image pushed from a folder runs on each of three hosts with the registry off", async (t) => {
    pushed = await lab.json<Pushed>(["image", "push", `oci:${web}:latest`]);
    t.match(pushed, { reference: `mesh/web@${image.digest}`, digest: image.digest, copies: 2, sentBlobs: 3, sentBytes: bytes });
    t.equal(HOSTS.filter((host) => lies(lab, host, "b").includes(hex(image.digest))).length, 2, "on the disks of two hosts");
    const runs = HOSTS.map((host) =>
      lab.cc(["run", "--rm", "--host", `h${host}`, "--image", `mesh/web@${image.digest}`, "cat", "/etc/hostname", "/etc/passwd"], { host: (host % 3) + 1 }),
    );
    for (const [at, ran] of (await Promise.all(runs)).entries()) t.match(ran.stdout, /^root:x:0:0/m, `host ${at + 1}: ${ran.stderr}`);
    for (const host of HOSTS) {
      const again = await lab.json<Pushed>(["image", "push", `oci:${web}`, "--name", "other"], { host });
      t.match(again, { reference: `mesh/other@${image.digest}`, copies: 2, sentBlobs: 0, sentBytes: 0 }, `host ${host} is sent nothing a second time`);
    }
  });

  await t.test("an image of a registry, once its digest is known, comes from hosts that have it", async (t) => {
    const [reference = ""] = known?.references ?? [];
    const exact = `${reference.replace(/:[^/:]*$/, "")}@${known?.digest}`;
    const ran = await lab.cc(["run", "--rm", "--host", "h2", "--image", exact, "echo", "here"], { host: 3 });
    t.match(ran, { code: 0, stdout: "here\n" }, ran.stderr);
    const tagged = await lab.cc(["run", "--rm", "--host", "h3", "--image", registryImage, "true"]);
    t.equal(tagged.code, 125, "what a tag means only its registry says");
    t.match(tagged.stderr, /REGISTRY_UNREACHABLE/);
  });

  await t.test("docker-archive and dir, pushed or run directly", async (t) => {
    const base = await busyboxImage({ layers: [{ entries: [{ path: "etc/from", data: "archive\n" }] }] });
    await writeOciLayout(join(work, "base"), base, "1");
    copy(`oci:${join(work, "base")}:1`, `dir:${join(work, "folder")}`);
    const direct = await lab.cc(["run", "--rm", "--host", "h3", "--image", `dir:${join(work, "folder")}`, "cat", "/etc/from"], { host: 2 });
    t.match(direct, { code: 0, stdout: "archive\n" }, direct.stderr);
    const saved = `docker-archive:${join(work, "saved.tar")}`;
    copy(`oci:${join(work, "base")}:1`, `${saved}:shop/front:1`);
    const archive = await lab.json<Pushed>(["image", "push", saved], { host: 3 });
    t.match(archive, { reference: `mesh/front@${archive.digest}`, copies: 2 });
    t.ok(archive.sentBlobs > 0, "its layers are not compressed: other blobs");
    const unpacked = await lab.cc(["run", "--rm", "--host", "h1", "--image", saved, "cat", "/etc/from"]);
    t.match(unpacked, { code: 0, stdout: "archive\n" }, unpacked.stderr);
    execFileSync("gzip", ["-k", join(work, "saved.tar")]);
    t.match(
      await lab.json<Pushed>(["image", "push", `docker-archive:${join(work, "saved.tar.gz")}`]),
      { digest: archive.digest, sentBytes: 0 },
      "the same image, also compressed",
    );
    // The container of the run before is removed by itself, in a moment.
    await eventually("it can be removed", async () => (await lab.cc(["image", "rm", archive.reference])).code === 0);
  });

  await t.test("who may not, and what is no image, is told so; nothing is left of it", async (t) => {
    const made = await lab.cc(["key", "create", "--role", "viewer", "--name", "eve"]);
    const eve = Object.fromEntries([...made.stdout.matchAll(/(CC_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]));
    const asEve = (...words: string[]) => lab.cc(["image", ...words], { env: eve });
    for (const words of [
      ["push", `oci:${web}`],
      ["rm", image.digest],
    ])
      t.match(await asEve(...words), { code: 1, stderr: /^Error \[FORBIDDEN\]: .*operator/m }, words.join(" "));
    t.match(await asEve("list"), { code: 0, stdout: /mesh\/web@sha256/ });

    const before = HOSTS.map((host) => lies(lab, host, "b"));
    const damaged = join(work, "damaged");
    const spoilt = buildImage({ layers: [{ entries: [{ path: "x", data: randomBytes(100_000) }], compression: "none" }] });
    await writeOciLayout(damaged, spoilt, "1");
    const layer = join(damaged, "blobs/sha256", hex(spoilt.layerDigests[0] ?? ""));
    const good = readFileSync(layer);
    writeFileSync(layer, Buffer.concat([good.subarray(0, 5_000), Buffer.from("?"), good.subarray(5_001)]));
    const refused = async (source: string, said: RegExp) => {
      const outcome = await lab.cc(["image", "push", source]);
      t.equal(outcome.code, 1, source);
      t.match(outcome.stderr, said, source);
    };
    await refused(`oci:${damaged}`, /^Error \[BAD_REQUEST\]: the blob sha256:\S+ is damaged/m);
    truncateSync(layer, 50_000);
    await refused(`oci:${damaged}`, /has 50000 bytes, its manifest says \d+: it is damaged/);
    rmSync(layer);
    await refused(`oci:${damaged}`, /lacks blobs\/sha256/);
    await refused(`oci:${web}:nope`, /^Error \[IMAGE_NOT_FOUND\]: .* has no image with the tag nope; it has latest/m);
    await refused(`oci:${join(work, "nowhere")}:1`, /nowhere is not there/);
    await refused(`oci:${work}`, /has no index.json/);
    await refused(`docker-archive:${join(web, "index.json")}`, /is not a tar archive/);
    await refused(`dir:${web}`, /has no manifest.json/);
    const none = await lab.cc(["image", "push", "docker-daemon:web:1"], { env: { PATH: "/nonexistent" } });
    t.match(none, { code: 1, stderr: /needs docker or skopeo on this machine.*install one/ });
    t.equal((await lab.cc(["run", "--image", `oci:${work}`, "true"])).code, 125);
    for (const host of HOSTS) t.same(lies(lab, host, "u"), [], "nothing is on its way");
    const after = HOSTS.map((host) => lies(lab, host, "b"));
    t.notOk(after.flat().includes(hex(spoilt.layerDigests[0] ?? "")), "what is damaged is on no disk");
    // Only what was whole of the damaged image may be there, for an hour.
    for (const [at, names] of after.entries()) t.ok(names.length <= (before[at]?.length ?? 0) + 2, `${names.length} blobs`);
  });

  await t.test("an image in use is not removed; one that is not is gone from every host", async (t) => {
    const reference = pushed?.reference ?? "";
    const ran = await lab.cc(["run", "--detach", "--name", "user", "--stop-timeout", "1s", "--host", "h3", "--image", reference, "sleep", "1000"]);
    t.equal(ran.code, 0, ran.stderr);
    await eventually("it runs", async () => (await lab.json<{ phase: string }[]>(["status", "user"]))[0]?.phase === "running");
    for (const host of HOSTS) {
      const listed = (await lab.json<Image[]>(["image", "list"], { host })).find(({ digest }) => digest === image.digest);
      t.match(listed, { hosts: ["h1", "h2", "h3"], usedBy: [ran.stdout.trim()] }, `as host ${host} says`);
      t.match(await lab.cc(["image", "rm", host === 1 ? reference : image.digest], { host }), {
        code: 1,
        stderr: /^Error \[IN_USE\]: .* is used by user.*cc rm/m,
      });
    }
    t.equal((await lab.cc(["stop", "user"])).code, 0);
    t.match(await lab.cc(["image", "rm", reference]), { code: 1, stderr: /IN_USE/ }, "it could be started again");
    t.equal((await lab.cc(["start", "user"])).code, 0, "and is");
    t.equal((await lab.cc(["rm", "--force", "user"])).code, 0);
    t.match(await lab.cc(["image", "rm", reference, "never/was:1"], { host: 2 }), { code: 0, stdout: `${reference}\nnever/was:1\n` });
    for (const host of HOSTS)
      for (const part of ["b", "i", "h"] as const)
        t.notOk(
          lies(lab, host, part).some((name) => name.startsWith(hex(image.digest))),
          `${part} of host ${host}`,
        );
    t.match(await lab.cc(["image", "rm", reference]), { code: 0 }, "gone is gone");
    const gone = await lab.cc(["run", "--rm", "--image", reference, "true"]);
    t.match(gone, { code: 125, stderr: /IMAGE_NOT_FOUND.*cc image push/ });
  });

  await t.test("a peer that dies in the midst of an upload is left for the next one, and nothing half stays", async (t) => {
    const big = buildImage({
      layers: [1, 2, 3].map((at) => ({ entries: [{ path: `ballast${at}`, data: randomBytes(20_000_000) }], compression: "none" as const })),
    });
    const folder = join(work, "big");
    await writeOciLayout(folder, big, "1");
    const endpoints = (await Promise.all([1, 2].map(async (host) => (await lab.environment(host))["CC_ENDPOINT_URL"]))).join(",");
    const pid = await lab.peerPid(1);
    const part = (): boolean =>
      lies(lab, 1, "u").some((name) => (statSync(join(lab.folder, "hosts/h1/data/images/u", name), { throwIfNoEntry: false })?.size ?? 0) > 2_000_000);
    const pushing = lab.cc(["image", "push", `oci:${folder}`, "--json"], { env: { CC_ENDPOINT_URL: endpoints } });
    for (let waitedMs = 0; !part() && waitedMs < 20_000; waitedMs += 5) await pause(5);
    process.kill(pid, "SIGKILL");
    const outcome = await pushing;
    t.equal(outcome.code, 0, outcome.stderr);
    t.match(outcome.stderr, /the upload was cut off .*it goes on/);
    t.match(JSON.parse(outcome.stdout), { digest: big.digest, copies: 2 });
    await lab.must("restart", "1");
    t.same(lies(lab, 1, "u"), [], "what had come half to the first peer is gone");
    for (const name of lies(lab, 2, "b"))
      t.equal(
        createHash("sha256")
          .update(readFileSync(join(lab.folder, "hosts/h2/data/images/b", name)))
          .digest("hex"),
        name,
      );
    const alone = lab.cc(["image", "push", `dir:${join(work, "folder")}`], { env: { CC_ENDPOINT_URL: "https://127.0.0.1:9" } });
    t.match(await alone, { code: 1, stderr: /PEER_UNREACHABLE/ });
  });
});
