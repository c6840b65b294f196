import { eventually, type Outcome, type TestLab, withLab } from "./lab.ts";

type Container = { readonly phase: string; readonly hostName: string; readonly ports: readonly { readonly hostPort: number; readonly everywhere: boolean }[] };

/** Says its name, and at /cgi-bin/who also whom it sees. */
const SERVER = [
  "sh",
  "-c",
  `mkdir -p /tmp/w/cgi-bin
hostname >/tmp/w/index.html
printf '#!/bin/sh\\necho\\necho $REMOTE_ADDR\\n' >/tmp/w/cgi-bin/who
chmod +x /tmp/w/cgi-bin/who
exec busybox httpd -f -p 80 -h /tmp/w`,
];
const NOTHING = "(nothing)";

withLab("published ports, on one host and on every one", { hosts: 2, zones: "a,a" }, async (t, lab) => {
  const image = await lab.image();
  const run = (name: string, host: number, ...words: readonly string[]): Promise<Outcome> =>
    lab.cc(["run", "--detach", "--name", name, "--host", `h${host}`, "--image", image, "--memory", "16m", "--disk", "32m", ...words, "--", ...SERVER]);
  const addresses = (await lab.status()).hosts.map(({ address }) => address);
  const at = (host: number, port: number, path = "/"): string => `http://${addresses[host - 1]}:${port}${path}`;
  const running = (name: string) =>
    eventually(`${name} runs`, async () => {
      const [state] = await lab.json<Container[]>(["status", name]);
      return state?.phase === "running" && state;
    });

  for (const [name, host] of [
    ["web", 1],
    ["near", 1],
    ["far", 2],
  ] as const) {
    const words = name === "web" ? ["--publish", "8080:80", "--publish", "127.0.0.1:8081:80"] : [];
    const ran = await run(name, host, ...words);
    t.equal(ran.code, 0, ran.stderr);
    await running(name);
  }
  const fromHost = (host: number, url: string): Promise<string> => got(lab.on(host, ...fetching(url)));
  const fromContainer = (name: string, url: string): Promise<string> => got(lab.cc(["exec", name, "--", ...fetching(url)]));

  await t.test("on its host: from outside, from the host itself, and from containers wherever they are", async (t) => {
    t.equal(await outside(at(1, 8080)), "web", "the machine");
    t.equal(await fromHost(2, at(1, 8080)), "web", "another host");
    t.equal(await fromHost(1, "http://127.0.0.1:8080/"), "web", "the host, by its loopback");
    t.equal(await fromHost(1, at(1, 8080)), "web", "and by its own address");
    t.equal(await fromHost(1, "http://127.0.0.1:8081/"), "web");
    for (const name of ["web", "near", "far"]) t.equal(await fromContainer(name, at(1, 8080)), "web", `${name}, by the host's address`);
    t.equal(addressIn(await fromHost(2, at(1, 8080, "/cgi-bin/who"))), addresses[1], "it sees who calls");
  });

  await t.test("and nowhere else", async (t) => {
    t.equal(await outside(at(1, 8081)), NOTHING, "on its host's loopback only");
    t.equal(await outside(at(2, 8080)), NOTHING, "not on the other host");
    t.equal(await fromContainer("far", at(1, 8081)), NOTHING);
    t.equal(await fromContainer("near", at(2, 7443)), NOTHING, "no peer's API");
    t.equal(await fromContainer("near", at(1, 7443)), NOTHING);
  });

  await t.test("--publish-on all: through each host of the zone", async (t) => {
    const ran = await run("all", 2, "--publish", "9080:80", "--publish", "80", "--publish-on", "all");
    t.equal(ran.code, 0, ran.stderr);
    const { ports } = await running("all");
    const chosen = ports.find(({ hostPort }) => hostPort !== 9080)?.hostPort ?? 0;
    t.ok(ports.every(({ everywhere }) => everywhere));
    for (const host of [1, 2]) {
      await eventually(`through h${host}`, async () => (await outside(at(host, 9080))) === "all");
      t.equal(await outside(at(host, chosen)), "all", "one port, chosen for all of them");
      t.equal(await fromHost(host, "http://127.0.0.1:9080/"), "all", `the loopback of h${host}`);
      for (const other of [1, 2]) t.equal(await fromHost(other, at(host, 9080)), "all", `from h${other}`);
      for (const name of ["all", "near", "far"]) t.equal(await fromContainer(name, at(host, 9080)), "all", `from ${name} through h${host}`);
    }
    t.equal(addressIn(await fromHost(1, at(2, 9080, "/cgi-bin/who"))), addresses[0], "on its own host it sees the client");
    t.match(addressIn(await fromHost(2, at(1, 9080, "/cgi-bin/who"))), /^2[4-5]\d\./, "on another one the address that stands for that host");
  });

  await t.test("a port that is taken is refused with who has it", async (t) => {
    const refused = async (host: number, message: RegExp, ...words: readonly string[]) => {
      t.match(await run("late", host, ...words), { code: 125, stderr: message }, words.join(" "));
    };
    await refused(1, /IN_USE.*port 8080\/tcp is taken by container web;/, "--publish", "8080:81");
    await refused(1, /port 9080\/tcp is taken by container all, which is published on every host/, "--publish", "9080:80");
    await refused(2, /port 8080\/tcp is taken by container web on host h1;/, "--publish", "8080:80", "--publish-on", "all");
    await refused(1, /port 7443\/tcp is taken by a program of the host/, "--publish", "7443:80");
    await refused(1, /one host has /, "--publish", `${addresses[0]}:8090:80`, "--publish-on", "all");
    t.match(await lab.cc(["run", "--image", image, "--forward", "true"]), { code: 2, stderr: /give --publish too/ });
  });

  await t.test("a program of another host keeps its port", async (t) => {
    const program = lab.startOn(1, "socat", "TCP-LISTEN:9090,fork,reuseaddr", "SYSTEM:echo the program");
    const said = async () => (await lab.on(2, "socat", "-u", `TCP:${addresses[0]}:9090,connect-timeout=4`, "-")).stdout.trim();
    try {
      await eventually("it listens", async () => (await said()) === "the program");
      const ran = await run("beside", 2, "--publish", "9090:80", "--publish-on", "all");
      t.equal(ran.code, 0, ran.stderr);
      await eventually("published", async () => (await outside(at(2, 9090))) === "beside");
      await eventually("and said", async () => /"ports":"9090\/tcp of container beside"/.test((await lab.run("logs", "1")).stdout));
      t.equal(await said(), "the program");
    } finally {
      program.kill("SIGTERM");
    }
    await eventually("its place is taken once it has ended", async () => (await outside(at(1, 9090))) === "beside");
  });

  await t.test("removed: closed on every host", async (t) => {
    t.equal((await lab.cc(["rm", "--force", "all", "web", "near", "far", "beside"])).code, 0);
    for (const host of [1, 2]) await eventually(`h${host}`, async () => (await outside(at(host, 9080))) === NOTHING);
    t.equal(await outside(at(1, 8080)), NOTHING);
    await eventuallyNoVpcs(lab);
  });
});

/** Of `[::ffff:10.0.0.1]`. */
const addressIn = (text: string): string => /(\d+\.){3}\d+/.exec(text)?.[0] ?? text;

async function eventuallyNoVpcs(lab: TestLab): Promise<void> {
  for (const host of [1, 2]) await eventually(`no network of a VPC on h${host}`, async () => !/\bcc-/.test((await lab.on(host, "ip", "-br", "link")).stdout));
}

/** busybox's own limit (`-T`) ends Debian's static build with a fault. */
const fetching = (url: string): readonly string[] => ["timeout", "4", "busybox", "wget", "-qO-", url];

async function got(asked: Promise<Outcome>): Promise<string> {
  const { code, stdout } = await asked;
  return code === 0 ? stdout.trim() : NOTHING;
}

/** From the machine itself, which is no host of the mesh. */
async function outside(url: string): Promise<string> {
  try {
    return (await (await fetch(url, { signal: AbortSignal.timeout(4_000), headers: { connection: "close" } })).text()).trim();
  } catch {
    return NOTHING;
  }
}
