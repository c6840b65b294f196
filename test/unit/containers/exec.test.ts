import { create } from "@bufbuild/protobuf";
import t from "tap";
import { ExecRequestSchema } from "../../../src/api/gen/cc/v1/cloud_pb.ts";
import { execScript } from "../../../src/containers/drivers/crun-conmon/scripts.ts";
import { execError } from "../../../src/containers/drivers/crun-conmon/start-error.ts";
import { execFromRequest, execProcess } from "../../../src/containers/index.ts";

const asked = (more: object) => execFromRequest(create(ExecRequestSchema, { container: "web", command: ["ls", "-l"], ...more }));
const OWN = {
  env: ["PATH=/bin", "HOME=/root", "COLOUR=blue"],
  cwd: "/srv",
  user: { uid: 0 },
  noNewPrivileges: true,
  rlimits: [{ type: "RLIMIT_CORE", soft: 0, hard: 0 }],
  capabilities: { effective: ["CAP_CHOWN"] },
  args: ["serve"],
};

t.test("what can be asked for, and what cannot", async (t) => {
  t.match(asked({ env: { A: "b" }, user: "alice", dir: "/tmp", stdin: true }), {
    ok: true,
    value: { command: ["ls", "-l"], env: { A: "b" }, user: "alice", dir: "/tmp", stdin: true },
  });
  for (const [more, message] of [
    [{ command: [] }, /no command/],
    [{ command: [""] }, /first word is empty/],
    [{ command: ["a\0"] }, /zero byte/],
    [{ command: Array.from({ length: 1_025 }, () => "x") }, /1025 words/],
    [{ env: { "1A": "x" } }, /not a name of an environment variable/],
    [{ env: { A: "x\0" } }, /zero byte/],
    [{ user: "a b" }, /not a user/],
    [{ dir: "relative" }, /not absolute/],
    [{ dir: "/a/../b" }, /contains "\.\."/],
  ] as const)
    t.match(asked(more), { ok: false, code: "BAD_REQUEST", message }, String(message));
});

t.test("a process of its own words and the container's bonds", async (t) => {
  const spec = { command: ["ls"], env: { COLOUR: "red", NEW: "x" }, user: "", dir: "", stdin: false };
  t.same(execProcess(OWN, spec, undefined), { ...OWN, args: ["ls"], env: ["PATH=/bin", "HOME=/root", "COLOUR=red", "NEW=x"] });
  const other = execProcess(OWN, { ...spec, dir: "/a//b/" }, { uid: 7, gid: 8, additionalGids: [9], home: "/home/x" });
  t.match(other, {
    cwd: "/a/b",
    env: ["PATH=/bin", "HOME=/home/x", "COLOUR=red", "NEW=x"],
    user: { uid: 7, gid: 8, additionalGids: [9] },
    noNewPrivileges: true,
    rlimits: OWN.rlimits,
    capabilities: { effective: [], permitted: [], inheritable: [], ambient: [] },
  });
});

t.test("the runtime's words, of both its versions", async (t) => {
  for (const [words, code] of [
    ["executable file `x` not found in $PATH: No such file or directory", "COMMAND_NOT_FOUND"],
    ["open executable: No such file or directory", "COMMAND_NOT_FOUND"],
    ["open executable: Permission denied", "COMMAND_NOT_EXECUTABLE"],
    ["open executable: Operation not permitted", "COMMAND_NOT_EXECUTABLE"],
    ["the path `/etc` exists but it is not executable", "COMMAND_NOT_EXECUTABLE"],
    ["exec: Exec format error", "COMMAND_NOT_EXECUTABLE"],
    ["exec container process `/x`: Exec format error", "COMMAND_NOT_EXECUTABLE"],
    ["exec: Argument list too long", "TOO_LARGE"],
    ["chdir `/no`: No such file or directory", "BAD_REQUEST"],
    ["chdir to `/no`: Not a directory", "BAD_REQUEST"],
    ["fork: Resource temporarily unavailable", "CONTAINER_FAILED"],
  ] as const)
    t.match(execError(words, "x"), { code }, words);
  t.match(execError("fork: Resource temporarily unavailable", "x").message, /could not be started in the container: fork: Resource/);
});

t.test("the script", async (t) => {
  const script = execScript({ folder: "/run/a b", crun: "/usr/bin/crun", crunRoot: "/run/.crun", id: "c1", stdin: true });
  t.match(script, /^cd '\/run\/a b' && umask 0 && mkfifo said out err in && umask 077 \|\| exit 1$/m);
  t.match(script, /^env --default-signal setsid .*'?--log-format'? '?json'? .* <in >out 2>err 4>&- &$/m);
  t.match(execScript({ folder: "/f", crun: "crun", crunRoot: "/r", id: "c1", stdin: false }), / <\/dev\/null >out /);
});
