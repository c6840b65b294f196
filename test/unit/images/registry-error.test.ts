import t from "tap";
import { parseImageReference } from "../../../src/images/reference.ts";
import { explainRegistryError } from "../../../src/images/registry-error.ts";

const parsed = parseImageReference("ghcr.io/owner/name:1");
if (!parsed.ok) throw new Error(parsed.message);
const reference = parsed.value;
const fatal = (message: string): string => `time="2026-01-01T00:00:00Z" level=fatal msg="${message}"\n`;

t.test("what skopeo says becomes a code and a sentence", async (t) => {
  const cases: [string, string, RegExp][] = [
    ["reading manifest 1 in ghcr.io/owner/name: manifest unknown: manifest unknown", "IMAGE_NOT_FOUND", /has no image ghcr.io\/owner\/name:1/],
    ["reading manifest 1 in ghcr.io/owner/name: name unknown: repository name not known to registry", "IMAGE_NOT_FOUND", /check name and tag/],
    ["unable to retrieve auth token: invalid username/password: unauthorized: authentication required", "IMAGE_DENIED", /check the name, user and password/],
    [
      "reading manifest latest in docker.io/x/y: errors: denied: requested access to the resource is denied unauthorized: authentication required",
      "IMAGE_DENIED",
      /does not give/,
    ],
    ["toomanyrequests: You have reached your pull rate limit", "IMAGE_PULL_FAILED", /limits how often/],
    ['pinging container registry ghcr.io: Get \\"https://ghcr.io/v2/\\": dial tcp: lookup ghcr.io: no such host', "REGISTRY_UNREACHABLE", /cannot be reached/],
    ['pinging container registry x: Get \\"https://x/v2/\\": x509: certificate signed by unknown authority', "REGISTRY_UNREACHABLE", /is not trusted/],
    ['pinging container registry x: Get \\"https://x/v2/\\": http: server gave HTTP response to HTTPS client', "REGISTRY_UNREACHABLE", /insecure registries/],
    ["writing blob: storing blob to file: write /x: no space left on device", "NO_ROOM", /disk of this host is full/],
    ["Error parsing image name: exceeded maximum allowed size of 4194304 bytes", "IMAGE_PULL_FAILED", /too large to be one/],
    ["Source image rejected: Running image docker://x is rejected by policy.", "IMAGE_DENIED", /signature policy/],
  ];
  for (const [message, code, text] of cases) t.match(explainRegistryError(fatal(message), reference), { ok: false, code, message: text }, message);
});

t.test("an unknown failure is quoted, shortened, in one line, without signed addresses", async (t) => {
  const refusal = explainRegistryError(`warning\n${fatal(`fetching https://store/blob?X-Signature=s3cret gave \\"418\\" ${"x".repeat(500)}`)}`, reference);
  t.equal(refusal.code, "IMAGE_PULL_FAILED");
  t.match(refusal.message, /^ghcr.io\/owner\/name:1 cannot be pulled: fetching https:\/\/store\/blob gave/);
  t.notMatch(refusal.message, /s3cret|\n/);
  t.ok(refusal.message.length < 300);
  t.match(explainRegistryError("", reference), { code: "IMAGE_PULL_FAILED", message: /gave no reason/ });
});
