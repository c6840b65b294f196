/** What becomes of names when something ends. Run by failures.test.ts. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import t from "tap";
import { queryFor } from "../../unit/vpc/dns-client.ts";
import { becomes, ip, lookUp, PROGRAM, serversOf, Upstream } from "./network.ts";
import { answers, HOST, makeNetwork, PROD, prod, RESOLVERS, startScene, TEST, test } from "./scene.ts";

await makeNetwork();

t.test("killed: it answers again within a second or two, with all it had", async (t) => {
  const { server, logged } = startScene();
  t.teardown(() => server.stop());
  const upstream = await new Upstream(RESOLVERS[0], ({ name }) => ({ answers: [{ type: "A", name, data: "198.51.100.1" }] })).listen();
  t.teardown(() => upstream.close());
  server.nameservers([RESOLVERS[0]]);
  await answers(server, prod);
  await answers(server, test);
  for (const round of [1, 2]) {
    const [pid = 0] = await serversOf(process.pid);
    process.kill(pid, "SIGKILL");
    const beganMs = performance.now();
    const again = await becomes(async () => (await lookUp(PROD, HOST, queryFor("web"), 100))?.data[0] === "10.7.0.5", 20_000);
    t.comment(`answered again ${Math.round(performance.now() - beganMs)} ms after it was killed`);
    t.ok(again, `round ${round}`);
    t.ok(await becomes(async () => (await lookUp(TEST, HOST, queryFor("web"), 500))?.data[0] === "10.7.0.77"), "the other VPC too");
    t.ok(
      await becomes(async () => (await lookUp(TEST, HOST, queryFor("www.example.com"), 3_000))?.data[0] === "198.51.100.1"),
      "and the nameservers are known",
    );
  }
  t.equal(logged.filter(({ level }) => level === "warn").length, 2, "said each time");
});

t.test("hung: it is found out, killed and started again", async (t) => {
  const { server } = startScene();
  t.teardown(() => server.stop());
  await answers(server, prod);
  const [pid = 0] = await serversOf(process.pid);
  process.kill(pid, "SIGSTOP");
  t.ok(await becomes(async () => (await lookUp(PROD, HOST, queryFor("web"), 500))?.data[0] === "10.7.0.5", 60_000));
  t.notSame(await serversOf(process.pid), [pid]);
});

t.test("the peer killed: its name server ends by itself", async (t) => {
  const child = spawn(process.execPath, [fileURLToPath(new URL("./peer-child.ts", import.meta.url)), PROGRAM, HOST, PROD], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  await once(child.stdout, "data", { signal: AbortSignal.timeout(60_000) });
  const [pid = 0] = await serversOf(child.pid ?? 0);
  t.not(pid, 0);
  t.same((await lookUp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.5"]);
  child.kill("SIGKILL");
  const isGone = (): boolean => {
    try {
      return !process.kill(pid, 0);
    } catch {
      return true;
    }
  };
  t.ok(await becomes(isGone));
});

t.test("another program has the port: said with what to do, and tried again", async (t) => {
  const taken = createServer();
  taken.listen(53, "0.0.0.0");
  await once(taken, "listening");
  const { server, logged } = startScene();
  t.teardown(() => server.stop());
  server.set(prod);
  t.ok(await becomes(() => logged.some(({ fields }) => "why" in fields && /another program.*bind-dynamic/.test(String(fields.why))), 20_000));
  taken.close();
  await server.answering(prod.vpc, AbortSignal.timeout(20_000));
  t.same((await lookUp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.5"]);
});

t.test("started before its address is there, and kept while it is away", async (t) => {
  await ip("address", "del", `${HOST}/32`, "dev", "lo");
  const { server } = startScene();
  t.teardown(() => server.stop());
  server.start();
  t.ok(await becomes(async () => (await serversOf(process.pid)).length === 1), "there before the first table");
  server.set(prod);
  await t.rejects(server.answering(prod.vpc, AbortSignal.timeout(1_500)), { name: "TimeoutError" });
  const before = await serversOf(process.pid);
  await ip("address", "add", `${HOST}/32`, "dev", "lo");
  await server.answering(prod.vpc, AbortSignal.timeout(20_000));
  t.same(await serversOf(process.pid), before, "it waited for it");
  t.same((await lookUp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.5"]);
  // The last VPC's devices go and those of another come.
  await ip("address", "del", `${HOST}/32`, "dev", "lo");
  await ip("address", "add", `${HOST}/32`, "dev", "lo");
  t.same((await lookUp(PROD, HOST, queryFor("web")))?.data, ["10.7.0.5"]);
  t.same(await serversOf(process.pid), before);
});

t.test("started for nothing, it ends after a while", async (t) => {
  const { server } = startScene(4_000);
  t.teardown(() => server.stop());
  server.start();
  t.ok(await becomes(async () => (await serversOf(process.pid)).length === 1));
  t.ok(await becomes(async () => (await serversOf(process.pid)).length === 0));
});
