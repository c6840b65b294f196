import { execFile, execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import t from "tap";
import { type Commands, complete } from "../../../cli/completion.ts";
import { installCc } from "./run-cc.ts";
import { SETTINGS, startTestPeer } from "./test-peer.ts";

t.setTimeout(120_000);
const { folder, home, remove } = await installCc();
t.teardown(remove);

const GLOBALS = { json: { type: "boolean" }, "cc-endpoint-url": { type: "option" } } as const;
const COMMANDS: Commands = {
  ps: { flags: { ...GLOBALS, all: { type: "boolean", char: "a" }, label: { type: "option", multiple: true } } },
  stop: { flags: { ...GLOBALS, timeout: { type: "option", char: "t" } }, args: { containers: {} } },
  run: {
    flags: {
      ...GLOBALS,
      restart: { type: "option", options: ["no", "always"] },
      host: { type: "option" },
      interactive: { type: "boolean", char: "i" },
      volume: { type: "option", helpGroup: "NOT YET" },
    },
  },
  exec: { flags: { ...GLOBALS, user: { type: "option", char: "u" } }, args: { container: {} } },
  "host:list": { flags: GLOBALS },
  "host:remove": { flags: { ...GLOBALS, force: { type: "boolean" } }, args: { host: {} } },
  autocomplete: { flags: GLOBALS, args: { shell: { options: ["bash", "zsh"] } } },
};
const at = (...words: string[]) => complete(words, COMMANDS, GLOBALS);

t.test("what may stand at the cursor", async (t) => {
  const words = (offered: readonly string[]) => ({ words: offered, live: undefined });
  const live = (kind: string) => ({ words: [], live: kind });
  t.same(at(""), words(["ps", "stop", "run", "exec", "host", "autocomplete"]));
  t.same(at("host", "r"), words(["list", "remove"]), "of a topic; the beginning is looked at by who shows them");
  t.same(at("--cc-endpoint-url", "https://x", "host", ""), words(["list", "remove"]));
  t.same(at("--j"), words(["--json", "--cc-endpoint-url"]));
  t.same(at("stop", ""), live("container"));
  t.same(at("stop", "web", ""), live("container"), "and several");
  t.same(at("stop", "--timeout", ""), words([]), "a time is nobody's name");
  t.same(at("stop", "-t", "5s", ""), live("container"));
  t.same(at("host", "remove", ""), live("host"));
  t.same(at("ps", "--all", "--label", "x", "-"), words(["--json", "--cc-endpoint-url", "--label"]), "flags that may stand once, once");
  t.same(at("run", "--restart", "a"), words(["no", "always"]));
  t.same(at("run", "--restart=a"), words(["--restart=no", "--restart=always"]));
  t.same(at("run", "--host", ""), live("host"));
  t.same(at("run", "-"), words(["--json", "--cc-endpoint-url", "--restart", "--host", "--interactive"]), "not what only says 'not yet'");
  t.same(at("run", "-i", "ls", "-"), words([]), "behind the command nothing is ours");
  t.same(at("run", "--", "ls", ""), words([]));
  t.same(at("exec", ""), live("container"));
  t.same(at("exec", "-u", "root", "web", ""), words([]));
  t.same(at("autocomplete", ""), words(["bash", "zsh"]));
  t.same(at("nonsense", ""), words([]));
  t.same(at(), words(["ps", "stop", "run", "exec", "host", "autocomplete"]));
});

const OWN_PATH = [join(folder, "bin"), dirname(process.execPath), process.env["PATH"] ?? ""].join(delimiter);

const scriptFile = join(folder, "completion.bash");
writeFileSync(scriptFile, execFileSync(join(folder, "bin/ccloud"), ["autocomplete", "bash"], { env: { PATH: OWN_PATH, HOME: home } }));

/** What a shell that has read the script offers for these words, and whatever it says beside. */
function inBash(words: readonly string[], settings: Readonly<Record<string, string>>): Promise<string> {
  const script = `. ${scriptFile}; COMP_WORDS=(ccloud "$@"); COMP_CWORD=$#; _ccloud_complete; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const env = { PATH: OWN_PATH, HOME: home, ...settings };
  return new Promise((resolve, reject) => {
    execFile("bash", ["--norc", "-c", script, "bash", ...words], { env, timeout: 30_000 }, (error, stdout, stderr) =>
      error === null ? resolve(`${stdout}${stderr}`.trim().split("\n").join(" ")) : reject(error),
    );
  });
}

t.test("sourced in bash: commands, flags, and names of what there is", async (t) => {
  let asked = 0;
  const peer = await startTestPeer({
    calls: {
      ListContainers: () => {
        asked += 1;
        return {
          containers: [
            { id: "caaaaaaaaaaaaaaaaaaaa", name: "web" },
            { id: "cbbbbbbbbbbbbbbbbbbbb", name: "worker" },
            { id: "cccccccccccccccccccc2" },
            { name: "a\u0007b" },
          ],
        };
      },
      ListHosts: () => ({
        hosts: [
          { name: "attic", state: "alive" },
          { name: "", state: "removed" },
        ],
      }),
      ListKeys: () => ({
        keys: [
          { id: "k1", name: "ann" },
          { id: "k2", name: "bob", revoked: true },
        ],
      }),
    },
  });
  t.teardown(() => peer.stop());
  const settings = { CC_ENDPOINT_URL: peer.url, CC_ACCESS_TOKEN: SETTINGS.accessToken, CC_SECRET_KEY: SETTINGS.secretKey };
  const offered = (...words: string[]): Promise<string> => inBash(words, settings);
  t.equal(await offered("st"), "start status stop");
  t.equal(await offered("host", "l"), "list lost");
  t.equal(await offered("stop", "w"), "web worker");
  t.equal(await offered("stop", "web", ""), "web worker cccccccccccccccccccc2", "an id where there is no name; what a terminal would obey is left out");
  t.ok(asked <= 2, `${asked} questions for two presses of a key`);
  t.equal(await offered("metrics", "web", "--w"), "--watch");
  t.equal(await offered("run", "--restart", "=", "al"), "always", "as bash parts --restart=al");
  t.equal(await offered("run", "--host", ""), "attic");
  t.equal(await offered("key", "revoke", ""), "ann");
  t.equal(await offered("autocomplete", "z"), "zsh");
});

t.test("without a peer, a login or an answer: what is known without, soon and in silence", async (t) => {
  const settings = { CC_ENDPOINT_URL: "https://127.0.0.1:1", CC_ACCESS_TOKEN: SETTINGS.accessToken, CC_SECRET_KEY: SETTINGS.secretKey };
  const state = { XDG_STATE_HOME: join(home, "other") };
  t.equal(await inBash(["stop", ""], { ...settings, ...state }), "");
  t.equal(await inBash(["stop", ""], state), "");
  t.equal(await inBash(["stop", "--t"], state), "--timeout");
});

t.test("a C compiler named cc is left alone; ours is completed", async (t) => {
  const registered = (path: string): string => {
    const script = `. ${scriptFile}; complete -p`;
    return spawnSync("bash", ["--norc", "-c", script], { encoding: "utf8", env: { PATH: path, HOME: home }, timeout: 30_000 }).stdout;
  };
  t.match(registered(OWN_PATH), / cc\n/);
  const without = registered([dirname(process.execPath), "/usr/bin", "/bin"].join(delimiter));
  t.match(without, / ccloud\n/);
  t.notMatch(without, / cc\n/);
});

for (const [shell, script] of [
  ["zsh", `eval "$(ccloud autocomplete zsh)"; (( $+functions[_ccloud_complete] )) && print -r -- $_comps[ccloud]`],
  ["fish", "ccloud autocomplete fish | source; complete -C 'ccloud stat'"],
] as const) {
  const missing = spawnSync(shell, ["--version"]).error !== undefined;
  t.test(`sourced in ${shell}`, { skip: missing ? `no ${shell} on this machine` : false }, async (t) => {
    const { stdout, stderr } = spawnSync(shell, ["-c", script], { encoding: "utf8", env: { PATH: OWN_PATH, HOME: home }, timeout: 30_000 });
    t.match(stdout, shell === "zsh" ? /_ccloud_complete/ : /status/, stderr);
  });
}
