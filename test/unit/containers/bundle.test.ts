import { readFile } from "node:fs/promises";
import t from "tap";
import { CAPABILITIES, ociConfig } from "../../../src/containers/index.ts";
import { etcFiles, processArgs, processDir, processEnv } from "../../../src/containers/process.ts";
import { seccompFor } from "../../../src/containers/seccomp.ts";
import { aSpec } from "./fakes.ts";

const ROOT = { uid: 0, gid: 0, additionalGids: [], home: "/root" };
const input = {
  spec: aSpec(),
  args: ["sh"],
  env: ["A=b"],
  dir: "/",
  user: ROOT,
  hostname: "h",
  seccomp: { kind: "compiled", bpfBase64: "AAAA" },
  rootfs: "/r",
  userNamespace: "/u",
  networkNamespace: "/n",
  cgroup: "/cc/x",
  etc: { hosts: "/d/hosts" },
  volumes: [],
  init: undefined,
  nofileMax: 20_000,
  swapCounted: true,
} as const;

t.test("entrypoint and command", async (t) => {
  const of = (command: string[], entrypoint: string[], cmd: string[]) => processArgs({ command, image: "i" }, { entrypoint, cmd });
  t.same(of([], [], ["sh"]), { ok: true, value: ["sh"] });
  t.same(of(["ls"], [], ["sh"]), { ok: true, value: ["ls"] });
  t.same(of([], ["run"], ["sh"]), { ok: true, value: ["run", "sh"] });
  t.same(of(["ls"], ["run"], ["sh"]), { ok: true, value: ["run", "ls"] });
  t.match(of([], [], []), { ok: false, message: /names no command/ });
});

t.test("environment: the user's over the image's over ours", async (t) => {
  t.same(processEnv({}, [], "h", "/root"), ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=h", "HOME=/root"]);
  t.same(processEnv({ PATH: "/x", B: "3" }, ["PATH=/y", "A=1=2", "B=2", "NOVALUE", "HOME="], "h", "/home/a"), [
    "PATH=/x",
    "HOSTNAME=h",
    "HOME=/home/a",
    "A=1=2",
    "B=3",
  ]);
});

t.test("working directory", async (t) => {
  t.equal(processDir("", ""), "/");
  t.equal(processDir("", "srv//app/"), "/srv/app");
  t.equal(processDir("/x", "/y"), "/x");
  t.equal(processDir("", "/a/../../b/."), "/b");
});

t.test("the bundle of an ordinary container", async (t) => {
  const config = ociConfig(input);
  t.match(config, {
    root: { path: "/r", readonly: false },
    process: {
      args: ["sh"],
      noNewPrivileges: true,
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, ambient: [] },
      rlimits: [
        { type: "RLIMIT_NOFILE", soft: 20_000, hard: 20_000 },
        { type: "RLIMIT_CORE", hard: 0 },
      ],
    },
    annotations: { "run.oci.seccomp_bpf_data": "AAAA" },
    linux: {
      cgroupsPath: "/cc/x",
      resources: { memory: { limit: 512 * 1024 ** 2, swap: 512 * 1024 ** 2 }, cpu: { shares: 1024 }, pids: { limit: 1024 } },
      sysctl: { "net.ipv4.ping_group_range": "0 65535" },
    },
  });
  const text = JSON.stringify(config);
  t.match(text, /\{"type":"network","path":"\/n"\},\{"type":"user","path":"\/u"\}/);
  t.notMatch(text, /CAP_SYS_ADMIN|CAP_NET_ADMIN|CAP_SYS_PTRACE|CAP_SYS_MODULE|"seccomp":/);
  t.match(text, /"\/proc\/kcore"/);
});

t.test("what changes it", async (t) => {
  t.match(ociConfig({ ...input, user: { uid: 1000, gid: 5, additionalGids: [10], home: "/" } }), {
    process: { user: { uid: 1000, gid: 5, additionalGids: [10] }, capabilities: { effective: [], permitted: [] } },
  });
  t.match(
    JSON.stringify(ociConfig({ ...input, spec: aSpec({ init: true }), init: "/usr/bin/catatonit" })),
    /"args":\["\/run\/\.cc-init","--","sh"\].*"source":"\/usr\/bin\/catatonit","options":\["bind","ro"/,
  );
  t.match(JSON.stringify(ociConfig({ ...input, spec: aSpec({ readOnly: true }) })), /"readonly":true.*"\/etc\/hosts".*"bind","ro"/);
  t.notMatch(JSON.stringify(ociConfig({ ...input, swapCounted: false })), /swap/);
  const rules = { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 38, architectures: ["SCMP_ARCH_X86_64"], syscalls: [] };
  t.match(ociConfig({ ...input, seccomp: { kind: "rules", rules } }), { annotations: {}, linux: { seccomp: rules } });
});

t.test("files of /etc", async (t) => {
  t.same(etcFiles("web", { nameservers: ["192.0.2.1", "192.0.2.2"], search: ["shop.cc.internal"], address: "10.0.0.5" }), {
    hostname: "web\n",
    hosts: "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.5\tweb\n",
    "resolv.conf": "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch shop.cc.internal\n",
  });
});

t.test("seccomp: the distribution's profile, for one machine, and no namespaces of one's own", async (t) => {
  const profile: unknown = JSON.parse(await readFile("/usr/share/containers/seccomp.json", "utf8"));
  const filter = seccompFor(profile, "x64", CAPABILITIES);
  const allowed = new Set(filter.syscalls.filter((rule) => rule.action === "SCMP_ACT_ALLOW" && rule.args === undefined).flatMap((rule) => rule.names));
  for (const name of ["read", "openat", "execve", "fork", "futex", "arch_prctl", "chroot"]) t.ok(allowed.has(name), `${name} is allowed`);
  for (const name of [
    "mount",
    "unshare",
    "setns",
    "clone",
    "clone3",
    "bpf",
    "keyctl",
    "init_module",
    "reboot",
    "io_uring_setup",
    "open_by_handle_at",
    "settimeofday",
  ])
    t.notOk(allowed.has(name), `${name} is not`);
  t.match(
    filter.syscalls.find((rule) => rule.names.includes("clone")),
    { action: "SCMP_ACT_ALLOW", args: [{ op: "SCMP_CMP_MASKED_EQ", value: 0x7e020000 }] },
  );
  t.same(filter.architectures, ["SCMP_ARCH_X86_64"]);
  t.same(seccompFor(profile, "arm64", CAPABILITIES).architectures, ["SCMP_ARCH_AARCH64"]);
  t.throws(() => seccompFor({}, "x64", CAPABILITIES), /allows nothing/);
  t.throws(() => seccompFor(profile, "mips", CAPABILITIES), /mips/);
});

t.test("volumes: mapped, without devices and setuid, below the files of /etc", async (t) => {
  const volumes = [
    { source: "/m/1", path: "/etc", readOnly: false },
    { source: "/m/2", path: "/ro", readOnly: true },
  ];
  const { mounts } = ociConfig({ ...input, volumes }) as { mounts: { destination: string }[] };
  t.match(mounts.slice(-3), [
    { destination: "/etc", type: "bind", source: "/m/1", options: ["rbind", "rw", "nosuid", "nodev", "idmap"] },
    { destination: "/ro", source: "/m/2", options: ["rbind", "ro", "nosuid", "nodev", "idmap"] },
    { destination: "/etc/hosts" },
  ]);
});
