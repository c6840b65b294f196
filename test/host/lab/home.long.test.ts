import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { lab, type Outcome, ping, status, traces } from "./stub-lab.ts";

// The lab's home router: real NAT and the real daemon, with stand-ins for peer and cc.
const fromMachine = (address: string): Promise<string> =>
  new Promise((resolve) => {
    let said = "";
    const socket = connect({ host: address, port: 7_443, timeout: 10_000 });
    socket.on("data", (bytes) => {
      said += bytes.toString();
    });
    socket.on("timeout", () => socket.destroy());
    socket.on("error", () => undefined); // Closed without a word: what was said until then.
    socket.on("close", () => resolve(said));
  });

t.teardown(() => lab("down"));

t.test("hosts behind a home router: out to the others, nobody in, and faults across it", async (t) => {
  const up = await lab("up", "--hosts", "3", "--home", "2");
  t.equal(up.code, 0, up.stderr);
  const { tag, router, hosts, registry } = await status();
  const [h1, h2, h3] = hosts;
  t.match([h1, h2, h3], [{ zone: "a", home: false }, { zone: "home", home: true }, { home: true }]);
  t.match(router, { runs: true, only: undefined });
  t.equal((await lab("up", "--hosts", "3", "--zones", "a,home,home")).code, 1, "the same zones without a router are another lab");
  const reach = (host: number, address: string): Promise<Outcome> => lab("exec", String(host), "--", "busybox", "nc", "-w", "3", address, "7443");

  t.equal((await reach(3, h1.address)).stdout, "h1\n", "from home to the others");
  t.equal((await reach(3, h2.address)).stdout, "h2\n", "at home");
  t.not((await reach(1, h3.address)).code, 0, "not from the others to the home");
  t.not((await reach(1, router.address)).code, 0, "nor where nothing is mapped");
  t.equal((await lab("exec", "3", "--", "busybox", "wget", "-qO-", `http://${registry}/v2/`)).code, 0, "the registry");
  t.equal(await fromMachine(h3.address), "h3\n", "the machine itself looks in, so that its cc reaches every peer");

  const map = ["exec", "3", "--", process.execPath, join(import.meta.dirname, "map-port.ts"), router.gateway, h3.address, "7443"];
  t.equal((await lab(...map)).code, 0);
  t.same(JSON.parse((await lab("router", "mappings", "--json")).stdout), [{ protocol: "tcp", externalPort: 7443, address: h3.address, port: 7443 }]);
  t.equal((await reach(1, router.address)).stdout, "h3\n", "what is mapped is reached");
  await lab("cut", "1", "3", "--one-way");
  t.not((await reach(1, router.address)).code, 0);
  t.not((await reach(3, h1.address)).code, 0, "answers of h1 are packets of h1");
  t.ok(await ping(2, h1.address), "and nothing else");
  await lab("heal");

  t.match(await lab("router", "restart", "--only", "pcp"), { code: 0, stderr: "" });
  t.same(JSON.parse((await lab("router", "mappings", "--json")).stdout), [], "a router that lost power has forgotten all");
  t.match((await status()).router, { runs: true, only: "pcp" });
  await lab("router", "stop");
  t.match((await status()).router, { runs: false });
  t.notOk(await ping(3, h1.address), "no way out");
  t.ok(await ping(3, h2.address), "the home itself goes on");
  t.equal((await lab("router", "start")).code, 0);
  await lab("kill", "3");
  t.equal((await lab("start", "3")).code, 0);
  t.ok(await ping(3, h1.address), "a host that comes back is behind it again");
  t.equal((await lab("down")).code, 0);
  t.same(traces(tag), []);
});
