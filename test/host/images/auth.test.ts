import { lstatSync, readdirSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { createLogger } from "../../../src/host/index.ts";
import { buildImage, pushImage } from "./oci-layout.ts";
import { startRegistry } from "./registry.ts";
import { makeFixture, TEST_MS_MAX } from "./store-fixture.ts";

const lines: string[] = [];
t.setTimeout(TEST_MS_MAX);
const fixture = await makeFixture({ log: createLogger({ level: "debug", to: { write: (line: string) => void lines.push(line) } }) });
const registry = await startRegistry(join(fixture.folder, "registry"), { auth: true });
t.teardown(async () => {
  await registry.stop();
  await fixture.close();
});
const store = fixture.open({ insecureRegistries: [registry.address] });
const soon = (): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(30_000) });
const image = buildImage({ layers: [{ entries: [{ path: "secret", data: "secret" }] }] });
await pushImage(registry.url, "team/app", "1", image, `Basic ${Buffer.from("alice:right").toString("base64")}`);
const name = `${registry.address}/team/app:1`;

t.test("without or with a wrong password: denied, and the password appears nowhere", async (t) => {
  await t.rejects(store.pull(name, soon()), {
    code: "IMAGE_DENIED",
    message: `${registry.address} does not give team/app to this user; check the name, user and password`,
  });
  const error: unknown = await store.pull(name, { ...soon(), credentials: { user: "alice", password: "w0ng-passw0rd" } }).catch((thrown: unknown) => thrown);
  t.match(error, { code: "IMAGE_DENIED" });
  const seen = [String(error instanceof Error ? `${error.message}${error.stack}` : error), ...fixture.argvs, ...lines].join("\n");
  t.notMatch(seen, /w0ng-passw0rd/);
  t.notMatch(seen, Buffer.from("alice:w0ng-passw0rd").toString("base64"));
  t.same((await fixture.leftovers()).auth, []);
});

t.test("with the right one it is pulled; meanwhile the file is for root alone, afterwards it is gone", async (t) => {
  const modes = new Set<string>();
  const folder = join(fixture.runDir, "registry");
  const watcher = setInterval(() => {
    for (const file of readdirSync(folder)) {
      if (!file.startsWith("auth-")) continue;
      const { mode, uid } = lstatSync(join(folder, file));
      modes.add(`${(mode & 0o7777).toString(8)} ${uid}`);
    }
  }, 10);
  const pulled = await store.pull(name, { ...soon(), credentials: { user: "alice", password: "right" } });
  clearInterval(watcher);
  t.equal(pulled.digest, image.digest);
  t.same([...modes], ["600 0"]);
  t.same((await fixture.leftovers()).auth, []);
  t.notMatch(fixture.argvs.join("\n"), "right");
  t.notMatch(lines.join("\n"), "right");
});

t.test("a file with a password that a killed peer left is removed at the next start", async (t) => {
  const folder = join(fixture.runDir, "registry");
  await writeFile(join(folder, "auth-left.json"), "{}");
  await fixture.open().sweep();
  t.same(
    (await readdir(folder)).filter((file) => file.startsWith("auth-")),
    [],
  );
});

t.test("the signature policy and the mirrors of skopeo's own files count", async (t) => {
  const policy = join(fixture.folder, "policy.json");
  await writeFile(policy, JSON.stringify({ default: [{ type: "reject" }] }));
  const strict = fixture.open({ dataDir: join(fixture.folder, "strict"), insecureRegistries: [registry.address], policyFile: policy });
  await t.rejects(strict.pull(name, { ...soon(), credentials: { user: "alice", password: "right" } }), {
    code: "IMAGE_DENIED",
    message: /signature policy of this host/,
  });
  t.same(await readdir(join(fixture.folder, "strict", "t")), []);

  const mirror = await startRegistry(join(fixture.folder, "mirror"));
  t.teardown(() => mirror.stop());
  await pushImage(mirror.url, "lib/mirrored", "1", image);
  const conf = join(fixture.folder, "registries.conf");
  await mkdir(fixture.folder, { recursive: true });
  await writeFile(conf, `[[registry]]\nprefix = "docker.io/library"\nlocation = "${mirror.address}/lib"\ninsecure = true\n`);
  const mirrored = fixture.open({ dataDir: join(fixture.folder, "mirrored"), registriesConfFile: conf });
  const got = await mirrored.pull("mirrored:1", soon());
  t.equal(got.reference, "docker.io/library/mirrored:1");
  t.equal(await readFile(join(got.layers[0] ?? "", "secret"), "utf8"), "secret");
});
