import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import t from "tap";
import { ContainerSpecSchema } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { inOrder, isKernels, ownerOfFresh, specFromRequest, volumeMounts } from "../../../src/containers/index.ts";
import { ID } from "./fakes.ts";

const A = "vaaaaaaaaaaaaaaaaaaaa";
const B = "vbbbbbbbbbbbbbbbbbbbb";
const mount = (path: string, volume = A, readOnly = false) => ({ volume, path, readOnly });

t.test("volumes of a request come into the spec, parents first", async (t) => {
  const message = create(ContainerSpecSchema, { image: "x", volumes: [mount("/v/a/b"), mount("/v", B, true), mount("/w/x")] });
  const spec = specFromRequest(ID, message);
  t.match(spec, {
    ok: true,
    value: {
      volumes: [
        { id: B, path: "/v", readOnly: true },
        { id: A, path: "/w/x", readOnly: false },
        { id: A, path: "/v/a/b", readOnly: false },
      ],
    },
  });
  t.same(specFromRequest(ID, create(ContainerSpecSchema, { image: "x" })).ok && volumeMounts([]), { ok: true, value: [] });
});

t.test("refusals are one clear sentence", async (t) => {
  const cases: readonly [ReturnType<typeof mount>[], RegExp][] = [
    [[mount("/a", "data")], /"data" is not a volume's id; cc volume list/],
    [[mount("/a", "caaaaaaaaaaaaaaaaaaaa")], /not a volume's id/],
    [[mount("data")], /not absolute/],
    [[mount("")], /not absolute/],
    [[mount("/")], /cannot lie at \/: it may not be \//],
    [[mount("/proc")], /cannot lie at \/proc/],
    [[mount("/sys/fs")], /cannot lie at \/sys\/fs/],
    [[mount("/dev/shm")], /cannot lie at \/dev\/shm/],
    [[mount("/a/")], /give "\/a"/],
    [[mount("//a")], /give "\/a"/],
    [[mount("/a/../proc")], /give "\/proc"/],
    [[mount("/a/./b")], /give "\/a\/b"/],
    [[mount("/a\nb")], /control characters/],
    [[mount("/a\0")], /control characters/],
    [[mount(`/${"a".repeat(1024)}`)], /more than 1024 bytes/],
    [[mount("/a"), mount("/a", B)], /two volumes were given for \/a/],
    [Array.from({ length: 33 }, (_, at) => mount(`/${at}`)), /33 volumes were given, at most 32/],
  ];
  for (const [mounts, message] of cases) {
    const result = volumeMounts(mounts);
    t.match(result, { ok: false, code: "BAD_REQUEST", message }, String(message));
    t.notMatch(result.ok ? "" : result.message, /[^\x20-\x7e]/, "nothing that could write into a terminal");
  }
  for (const path of ["/procs", "/devices/x", "/system", "/a b", "/ä", "/a..b", "/etc", "/run"]) t.equal(volumeMounts([mount(path)]).ok, true, path);
  t.equal(isKernels("/proc/1"), true);
  t.equal(isKernels("/process"), false);
});

t.test("whatever the paths: accepted ones are normal, apart from each other, parents first", async () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.constantFrom("a", "b", "..", ".", "", "proc", "dev"), { maxLength: 4 }), { maxLength: 4 }), (parts) => {
      const result = volumeMounts(parts.map((names) => mount(`/${names.join("/")}`)));
      if (!result.ok) return true;
      const paths = result.value.map(({ path }) => path);
      const wellOrdered = paths.every((path, at) => !paths.slice(at + 1).some((later) => path.startsWith(`${later}/`)));
      return wellOrdered && new Set(paths).size === paths.length && paths.every((path) => !isKernels(path) && !/\/(\/|\.|$)/.test(path));
    }),
  );
  t.same(inOrder([{ path: "/a/b/c" }, { path: "/z" }, { path: "/a" }]), [{ path: "/z" }, { path: "/a" }, { path: "/a/b/c" }]);
});

t.test("whose a fresh volume is", async (t) => {
  const alice = { uid: 1000, gid: 1001 };
  t.same(ownerOfFresh(undefined, alice), { ...alice, mode: 0o755 });
  t.same(ownerOfFresh({ uid: 0, gid: 0, mode: 0o700 }, alice), { ...alice, mode: 0o700 });
  t.same(ownerOfFresh({ uid: 999, gid: 0, mode: 0o3777 }, alice), { uid: 999, gid: 0, mode: 0o3777 });
  t.same(ownerOfFresh({ uid: 0, gid: 5, mode: 0o755 }, { uid: 0, gid: 0 }), { uid: 0, gid: 0, mode: 0o755 });
});
