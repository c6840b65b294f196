import fc from "fast-check";
import t from "tap";
import { parseImageConfig } from "../../../src/images/image-config.ts";
import { decodeImageRecord, decodeReferenceRecord, encodeImageRecord } from "../../../src/images/image-record.ts";
import { parseManifest } from "../../../src/images/manifest.ts";
import { checkPlatform, choosePlatform, platformOf } from "../../../src/images/platform.ts";
import { boundKey, keyOfLayer, layerFolder, planPull } from "../../../src/images/pull-plan.ts";
import type { Digest } from "../../../src/images/reference.ts";

const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}` as Digest;
const OCI = "application/vnd.oci.image";
const LAYER = `${OCI}.layer.v1.tar+gzip`;
const config = { mediaType: `${OCI}.config.v1+json`, digest: digest("c"), size: 10 };
const manifest = (layers: object[], extra: object = {}): string =>
  JSON.stringify({ schemaVersion: 2, mediaType: `${OCI}.manifest.v1+json`, config, layers, ...extra });

t.test("manifests: both families, and what cannot be run is refused by name", async (t) => {
  const layers = [{ mediaType: LAYER, digest: digest("a"), size: 1 }];
  t.match(parseManifest(manifest(layers)), { ok: true, value: { kind: "image", layers: [{ digest: digest("a"), sizeBytes: 1 }] } });
  t.match(parseManifest(JSON.stringify({ schemaVersion: 2, config, layers })), { ok: true }, "without a media type");
  const docker = {
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    config: { ...config, mediaType: "application/vnd.docker.container.image.v1+json" },
    layers: [{ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", digest: digest("a"), size: 1 }],
  };
  t.match(parseManifest(JSON.stringify(docker)), { ok: true });
  const refused: [string, RegExp][] = [
    ["", /not JSON/],
    ["null", /schema 1/],
    ["[]", /schema 1/],
    [JSON.stringify({ schemaVersion: 1, fsLayers: [] }), /schema 1/],
    [manifest([], { mediaType: "text/html" }), /text\/html/],
    [manifest([{ mediaType: LAYER, digest: "sha256:../../x", size: 1 }]), /not a sha256 digest/],
    [manifest([{ mediaType: LAYER, digest: digest("a"), size: -1 }]), /layers.0.size/],
    [manifest([{ mediaType: LAYER, digest: digest("a"), size: 2 ** 50 }]), /layers.0.size/],
    [manifest([{ mediaType: `${LAYER}+encrypted`, digest: digest("a"), size: 1 }]), /\+encrypted, which cannot be unpacked/],
    [manifest([], { config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } }), /not a container image but/],
    [manifest(Array.from({ length: 129 }, () => layers[0] ?? {})), /layers/],
    [" ".repeat(5 * 1024 * 1024), /larger than/],
  ];
  for (const [text, message] of refused) t.match(parseManifest(text), { ok: false, code: "IMAGE_PULL_FAILED", message });
});

t.test("the platform that runs here is chosen", async (t) => {
  const entry = (architecture: string, variant?: string, os = "linux", letter = "a"): object => ({
    mediaType: `${OCI}.manifest.v1+json`,
    digest: digest(letter),
    size: 1,
    platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
  });
  const choose = (entries: object[], nodeArch: string): unknown => {
    const index = parseManifest(JSON.stringify({ schemaVersion: 2, manifests: entries }));
    if (!index.ok || index.value.kind !== "index") return index;
    return choosePlatform(index.value, platformOf(nodeArch));
  };
  t.match(choose([entry("arm64", "v8", "linux", "b"), entry("amd64", undefined, "windows", "c"), entry("amd64", "v3", "linux", "d"), entry("amd64")], "x64"), {
    ok: true,
    value: { digest: digest("a") },
  });
  t.match(choose([entry("arm", "v5", "linux", "b"), entry("arm", "v7"), entry("arm", "v6", "linux", "c")], "arm"), {
    ok: true,
    value: { digest: digest("a") },
  });
  t.match(choose([entry("arm64", undefined, "linux")], "arm64"), { ok: true, value: { digest: digest("a") } });
  t.match(choose([entry("unknown", undefined, "unknown"), entry("arm64", "v8")], "x64"), {
    ok: false,
    code: "IMAGE_NOT_FOUND",
    message: /for linux\/arm64\/v8, not for linux\/amd64;/,
  });
  t.match(choose([], "x64"), { ok: false, message: /no platform that it names/ });
  t.match(choose([{ digest: digest("a"), size: 1 }], "x64"), { ok: false }, "an entry without platform is not guessed");
  t.match(checkPlatform({ os: "", architecture: "" }, platformOf("x64")), { ok: true });
  t.match(checkPlatform({ os: "linux", architecture: "arm64" }, platformOf("x64")), { ok: false, message: /linux\/arm64, not for linux\/amd64/ });
});

t.test("configurations: what is absent is empty, what is impossible is refused", async (t) => {
  const rootfs = { type: "layers", diff_ids: [digest("a")] };
  t.match(parseImageConfig(JSON.stringify({ rootfs })), { ok: true, value: { config: { cmd: [], env: [], user: "" }, diffIds: [digest("a")], os: "" } });
  t.match(parseImageConfig(JSON.stringify({ rootfs, config: { Cmd: null, Entrypoint: null, Env: null, Labels: null, User: null } })), { ok: true });
  const full = { Cmd: ["a"], Entrypoint: ["b"], Env: ["A=1", "B", "=x", "C="], User: "u:g", WorkingDir: "/w", StopSignal: "SIGINT", Labels: { l: "v" } };
  const parsed = parseImageConfig(JSON.stringify({ rootfs, config: full, os: "linux", architecture: "amd64" }));
  t.same(parsed.ok && parsed.value.config, {
    cmd: ["a"],
    entrypoint: ["b"],
    env: ["A=1", "C="],
    user: "u:g",
    workingDir: "/w",
    stopSignal: "SIGINT",
    labels: { l: "v" },
  });
  for (const bad of [
    "",
    "{}",
    '{"rootfs":{"type":"layers","diff_ids":["x"]}}',
    JSON.stringify({ rootfs, config: { Cmd: "a" } }),
    JSON.stringify({ rootfs, config: { Env: ["A=\u0000"] } }),
    JSON.stringify({ rootfs, config: { Cmd: Array(5_000).fill("a") } }),
    JSON.stringify({ rootfs, config: { User: "u".repeat(200_000) } }),
  ]) {
    t.match(parseImageConfig(bad), { ok: false, code: "IMAGE_PULL_FAILED", message: /configuration cannot be used/ });
  }
  t.equal(({} as Record<string, unknown>)["polluted"], undefined);
  parseImageConfig(`{"rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"__proto__":{"polluted":1}}},"__proto__":{"polluted":1}}`);
  t.equal(({} as Record<string, unknown>)["polluted"], undefined, "no prototype is touched");
});

t.test("the plan names what is missing once, and stacks no layer twice", async (t) => {
  const [a, b, c] = [digest("a"), digest("b"), digest("d")];
  const blob = (letter: string, sizeBytes: number): { mediaType: string; digest: Digest; sizeBytes: number } => ({
    mediaType: LAYER,
    digest: digest(letter),
    sizeBytes,
  });
  const image = { kind: "image" as const, config: { ...config, sizeBytes: 1 }, layers: [blob("1", 5), blob("2", 7), blob("1", 5), blob("3", 11)] };
  const plan = planPull(image, [a, b, a, c], (key) => key === c);
  t.match(plan, { ok: true, value: { fetchBytes: 12 } });
  t.same(plan.ok && plan.value.layers.map(({ diffId, key }) => [diffId, key]), [
    [b, undefined],
    [a, undefined],
    [c, c],
  ]);
  t.match(
    planPull(image, [a], () => true),
    { ok: false, code: "IMAGE_PULL_FAILED", message: /contradicts itself: 4 layers in its manifest, 1/ },
  );
  t.match(layerFolder(a), /^[a-z2-7]{24}$/);
  t.not(layerFolder(a), layerFolder(b));
  const names = Array.from({ length: 128 }, (_, at) => layerFolder(`sha256:${at.toString(16).padStart(64, "0")}` as Digest)).join(":");
  t.ok(names.length < 4_096 - 512, "the names of all layers fit into a page of mount options");
});

t.test("a layer that takes something from below has another key on top of other layers", async (t) => {
  const [a, b] = [digest("a"), digest("b")];
  const [alone, above] = [boundKey([b]), boundKey([a, b])];
  t.equal(new Set([a, b, alone, above, boundKey([b, a])]).size, 5);
  t.equal(
    keyOfLayer([a, b], (key) => key === above),
    above,
  );
  t.equal(
    keyOfLayer([a, b], (key) => key === b || key === above),
    b,
    "whole by itself",
  );
  t.equal(
    keyOfLayer([a, b], (key) => key === alone),
    undefined,
    "not on these",
  );
  t.equal(
    keyOfLayer([undefined, b], () => true),
    b,
  );
  t.equal(
    keyOfLayer([undefined, b], (key) => key !== b),
    undefined,
    "what lies below is not known",
  );
});

t.test("records come back as they were written; damaged ones are refused", async (t) => {
  const record = {
    digest: digest("a"),
    stack: [digest("b")],
    layers: [{ blob: digest("c"), diffId: digest("d"), bytes: 5, key: digest("b") }],
    config: { entrypoint: [], cmd: ["x"], env: [], user: "", workingDir: "", stopSignal: "", labels: { a: "b" } },
  };
  const text = encodeImageRecord(record);
  const back = decodeImageRecord(text);
  t.match(back, { ok: true, value: record });
  for (let cut = 0; cut < text.length; cut += 7) t.match(decodeImageRecord(text.slice(0, cut)), { ok: false });
  t.match(decodeReferenceRecord('{"version":2,"reference":"a","digest":"b"}'), { ok: false });
});

t.test("no manifest, configuration or record crashes anything", async (t) => {
  const letters = fc.constantFrom("a", "b", "c").map(digest);
  const mess: fc.Arbitrary<unknown> = fc.oneof(
    fc.jsonValue({ maxDepth: 4 }),
    letters,
    fc.constantFrom(2, "layers", "linux", LAYER, `${OCI}.index.v1+json`, config),
  );
  const keys = fc.constantFrom(
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "platform",
    "digest",
    "size",
    "rootfs",
    "type",
    "diff_ids",
    "Env",
    "Cmd",
    "Labels",
    "__proto__",
    "version",
    "stack",
  );
  const shaped = fc.dictionary(keys, fc.oneof(mess, fc.array(fc.dictionary(keys, mess), { maxLength: 3 }), fc.dictionary(keys, mess)));
  const text = fc.oneof(
    shaped.map((value) => JSON.stringify(value)),
    shaped.map((value) => JSON.stringify({ ...value, schemaVersion: 2 })),
    fc.string({ maxLength: 100 }),
    fc.jsonValue().map((value) => JSON.stringify(value)),
  );
  const fine = (result: { ok: boolean; message?: string }): boolean =>
    result.ok || (result.message !== undefined && result.message.length < 400 && !result.message.includes("\n"));
  fc.assert(
    fc.property(text, (json) => [parseManifest, parseImageConfig, decodeImageRecord, decodeReferenceRecord].every((parse) => fine(parse(json)))),
    { numRuns: 800 },
  );
  t.ok(fine(parseManifest("[".repeat(200_000))), "deep nesting");
});
