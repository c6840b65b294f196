import { spawn } from "node:child_process";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { buildImage, buildIndex, pushImage, pushIndex, sha256 } from "./oci-layout.ts";
import { freePort, startRegistry } from "./registry.ts";
import { makeFixture, TEST_MS_MAX } from "./store-fixture.ts";

t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture();
const registry = await startRegistry(join(fixture.folder, "registry"));
t.teardown(async () => {
  await registry.stop();
  await fixture.close();
});
const insecureRegistries = [registry.address];
const store = fixture.open({ insecureRegistries });
const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(30_000) });
const hello = buildImage({
  layers: [{ entries: [{ path: "hello", data: "hello" }] }],
  config: { Entrypoint: ["/hello"], Cmd: ["there"], Env: ["A=1", "broken"], User: "1000:1000", WorkingDir: "/srv", StopSignal: "SIGQUIT", Labels: { a: "b" } },
});

t.test("an image is pulled by tag, then known without the registry, also after a restart of the peer", async (t) => {
  await pushImage(registry.url, "lib/hello", "1", hello);
  const name = `${registry.address}/lib/hello:1`;
  t.equal(await store.local(name), undefined);
  const steps: string[] = [];
  const image = await store.pull(name, { ...soon(), onProgress: ({ step }) => steps.push(step) });
  t.equal(image.digest, hello.digest);
  t.equal(image.reference, name);
  t.equal(image.layers.length, 1);
  t.same(image.config, {
    entrypoint: ["/hello"],
    cmd: ["there"],
    env: ["A=1"],
    user: "1000:1000",
    workingDir: "/srv",
    stopSignal: "SIGQUIT",
    labels: { a: "b" },
  });
  t.equal(steps[0], "resolving");
  t.ok(steps.includes("unpacking"), "progress is reported");
  t.ok(image.sizeBytes >= 1_024, "unpacked size");
  const ran = fixture.argvs.length;
  t.same(await store.local(name), image);
  t.same(await store.local("other", image.digest), { ...image, reference: "docker.io/library/other:latest" }, "by the digest, whatever the name");
  t.equal(await store.local(`${registry.address}/lib/hello:2`), undefined);
  t.equal(await store.local("Not//Valid"), undefined);
  t.equal(fixture.argvs.length, ran, "a look-up runs no program");

  const later = fixture.open({ insecureRegistries });
  await later.sweep();
  t.same(await later.local(name), image);
  t.same(await later.list(), [image]);
});

t.test("by digest: asked once, then never again", async (t) => {
  const name = `${registry.address}/lib/hello@${hello.digest}`;
  const image = await store.pull(name, soon());
  t.equal(image.digest, hello.digest);
  const ran = fixture.argvs.length;
  await store.pull(name, soon());
  await store.pull(`${registry.address}/lib/hello:gone`, { ...soon(), digest: hello.digest });
  t.equal(fixture.argvs.length, ran, "no program runs for what is here by digest");
  const missing = sha256(Buffer.from("nothing"));
  await t.rejects(store.pull(`${registry.address}/lib/hello@${missing}`, soon()), { code: "IMAGE_NOT_FOUND" });
});

t.test("a tag that moved is followed by the next pull; the old image stays by its digest", async (t) => {
  const name = `${registry.address}/lib/moving:1`;
  await pushImage(registry.url, "lib/moving", "1", hello);
  await store.pull(name, soon());
  const next = buildImage({ layers: [{ entries: [{ path: "hello", data: "hello" }] }, { entries: [{ path: "more", data: "more" }] }] });
  await pushImage(registry.url, "lib/moving", "1", next);
  t.equal((await store.local(name))?.digest, hello.digest, "what is here counts until somebody pulls");
  const image = await store.pull(name, soon());
  t.equal(image.digest, next.digest);
  t.equal((await store.local(name))?.digest, next.digest);
  t.equal((await store.local(name, hello.digest))?.digest, hello.digest);
  t.equal(await registry.blobGets(next.layerDigests[0] ?? ""), 1, "a layer that is here is not fetched again");
  t.equal(await registry.blobGets(next.layerDigests[1] ?? ""), 1);
});

t.test("of an index, the image for this host is taken; without one, what there is gets named", async (t) => {
  const arm = buildImage({ layers: [{ entries: [{ path: "arm", data: "arm" }] }], architecture: "arm64", variant: "v8" });
  const amd = buildImage({ layers: [{ entries: [{ path: "amd", data: "amd" }] }] });
  const attestation = buildImage({ layers: [], os: "unknown", architecture: "unknown" });
  await pushIndex(registry.url, "lib/multi", "1", [attestation, arm, amd]);
  const name = `${registry.address}/lib/multi:1`;
  const here = fixture.open({ insecureRegistries, nodeArch: "x64" });
  t.equal((await here.pull(name, soon())).digest, amd.digest);
  const byIndex = `${registry.address}/lib/multi@${buildIndex([attestation, arm, amd]).digest}`;
  t.equal((await here.pull(byIndex, soon())).digest, amd.digest, "also by the digest of the index");
  t.equal((await here.local(byIndex))?.digest, amd.digest);
  const there = fixture.open({ insecureRegistries, nodeArch: "arm64" });
  t.equal((await there.pull(name, soon())).digest, arm.digest);
  const neither = fixture.open({ insecureRegistries, nodeArch: "s390x" });
  await t.rejects(neither.pull(name, soon()), {
    code: "IMAGE_NOT_FOUND",
    message: "the image is there for linux/arm64/v8, linux/amd64, not for linux/s390x; choose another image or tag, or a host of another architecture",
  });
  await pushImage(registry.url, "lib/armonly", "1", arm);
  await t.rejects(here.pull(`${registry.address}/lib/armonly:1`, soon()), { code: "IMAGE_NOT_FOUND", message: /is for linux\/arm64, not for linux\/amd64/ });
  t.same((await fixture.leftovers()).pulls, []);
});

t.test("refusals say what happened and what to do", async (t) => {
  await t.rejects(store.pull(`${registry.address}/lib/nope:1`, soon()), {
    code: "IMAGE_NOT_FOUND",
    message: `${registry.address} has no image ${registry.address}/lib/nope:1; check name and tag`,
  });
  await t.rejects(store.pull("UPPER", soon()), { code: "BAD_IMAGE_REFERENCE" });
  await t.rejects(store.pull("oci:/tmp/x", soon()), { code: "BAD_IMAGE_REFERENCE", message: /no host reads/ });
  await t.rejects(store.pull("a", { ...soon(), digest: "sha256:short" }), { code: "BAD_IMAGE_REFERENCE" });
  await t.rejects(fixture.open().pull(`${registry.address}/lib/hello:1`, soon()), {
    code: "REGISTRY_UNREACHABLE",
    message: /does not speak HTTPS; name it among the insecure registries/,
  });
  const closed = `127.0.0.1:${await freePort()}`;
  await t.rejects(fixture.open({ insecureRegistries: [closed] }).pull(`${closed}/lib/hello:1`, soon()), {
    code: "REGISTRY_UNREACHABLE",
    message: `${closed} cannot be reached from this host; check its name and the network, and try again`,
  });
  t.same((await fixture.leftovers()).pulls, []);
});

t.test("a registry that accepts no connection is given up in time", async (t) => {
  const port = await freePort();
  const silent = await startSilence(port);
  t.teardown(() => silent.stop());
  const registryName = `127.0.0.1:${port}`;
  const began = performance.now();
  await t.rejects(fixture.open({ insecureRegistries: [registryName], connectMs: 700 }).pull(`${registryName}/lib/hello:1`, soon()), {
    code: "REGISTRY_UNREACHABLE",
    message: `${registryName} does not answer within 0.7 s; check its name and the network, and try again`,
  });
  t.ok(performance.now() - began < 5_000);
  t.same((await fixture.leftovers()).pulls, []);
});

/** A port whose queue of connections is full: the kernel leaves further ones unanswered, as a firewall that drops does. */
async function startSilence(port: number): Promise<{ stop(): void }> {
  const script = `require("node:net").createServer().listen({ port: ${port}, host: "127.0.0.1", backlog: 1 }, () => console.log("up"))`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  child.kill("SIGSTOP");
  const sockets = Array.from({ length: 4 }, () => connect({ host: "127.0.0.1", port }));
  for (const socket of sockets) socket.on("error", () => undefined);
  await new Promise((resolve) => setTimeout(resolve, 100));
  return {
    stop() {
      for (const socket of sockets) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}
