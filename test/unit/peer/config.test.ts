import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { loadConfig } from "../../../nodes/peer/config.ts";
import { CcError } from "../../../src/base/index.ts";

const folder = mkdtempSync(join(tmpdir(), "cc-config-"));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function load(text: string | Uint8Array) {
  const file = join(folder, "peer.json");
  writeFileSync(file, text);
  return loadConfig({ file, flags: {}, env: {} });
}

t.test("any file is a configuration, or a refusal that names what is wrong", async () => {
  const fields = ["dataDir", "zone", "name", "listen", "apiListen", "endpoints", "capacity", "labels", "logLevel", "nonsense", "__proto__"];
  const file = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.json(),
    fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()).map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(file, (text) => {
      try {
        load(text);
      } catch (thrown) {
        if (!(thrown instanceof CcError) || thrown.code !== "BAD_REQUEST") throw thrown;
      }
    }),
    { numRuns: 300 },
  );
});

t.test("a field that is unknown or wrong is named", async (t) => {
  t.throws(() => load('{"capacity":{"memoryBytes":"lots"}}'), { code: "BAD_REQUEST", message: /capacity\.memoryBytes/ });
  t.throws(() => load('{"zone":"Not A Zone"}'), { code: "BAD_REQUEST", message: /zone/ });
  t.throws(() => load('{"encryption":"on"}'), { code: "BAD_REQUEST", message: /encryption/ });
  t.throws(() => load('{"wireguardPort":70000}'), { code: "BAD_REQUEST", message: /wireguardPort/ });
  t.equal(load('{"encryption":"required"}').encryption, "required");
  t.equal(load("{}").encryption, "auto");
  t.throws(() => load('{"dataDirr":"/x"}'), { code: "BAD_REQUEST", message: /dataDirr/ });
  t.throws(() => load("[]"), { code: "BAD_REQUEST", message: /JSON object/ });
  t.throws(() => load('{"forward":{"leaseSeconds":1}}'), { code: "BAD_REQUEST", message: /forward\.leaseSeconds/ });
  t.same(load('{"forward":{"mesh":true}}').forward, { mesh: true, api: false, leaseSeconds: 1_200 });
  t.equal(load('{"capacity":{"memoryBytes":"1g"}}').capacity.memoryBytes, 1024 ** 3);
});
