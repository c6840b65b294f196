import t from "tap";
import { createAskForwards, type ForwardsHere } from "../../../nodes/peer/core/handlers/forwards.ts";
import { RouterForwards } from "../../../nodes/peer/network/router-forwards.ts";
import { ownForwards } from "../../../nodes/peer/network/wanted-forwards.ts";
import { CcError, type PeerId, silentLogger } from "../../../src/base/index.ts";
import { createRouterMappings } from "../../../src/ports/index.ts";
import { VirtualTime } from "../placement/virtual-time.ts";
import { FakeRouter, MemoryBook, ROUTE } from "../ports/fake-router.ts";
import { changes, claims, creates, Desk, idOf, MEMBERS, peerId, says } from "../state/view-fixtures.ts";

const SELF = peerId("peer 1");
const OWN = { forward: { mesh: true, api: true }, listen: ["/ip4/0.0.0.0/tcp/7440"], apiListen: "0.0.0.0:8443" };

function held(name: string, port: number, more: { readonly on?: string; readonly forward?: boolean } = {}) {
  const { on = "peer 1", forward = true } = more;
  const create = creates(name, { spec: { publish: ["80"], forward } });
  const ports = [{ hostAddress: "", hostPort: port, port: 80, protocol: "tcp" }];
  return [create, claims(on, create, { network: { vpc: "naaaaaaaaaaaaaaaaaaaa", address: "10.7.0.2", ports } })];
}
const phase = (name: string, text: string, minor: number) => says("peer 1", idOf(name), text, { version: { major: 1, minor } });

function host(own = OWN) {
  const time = new VirtualTime();
  const clock = time.clock();
  const router = new FakeRouter(clock);
  const book = new MemoryBook();
  const desk = new Desk().take(...MEMBERS);
  const service = new RouterForwards({
    mappings: (changed) =>
      createRouterMappings(
        { drivers: [router.driver()], routes: { find: async () => ROUTE }, book, clock, logger: silentLogger, changed },
        { leaseSeconds: 100 },
      ),
    own: ownForwards(own),
    clock,
    log: silentLogger,
  });
  const onChange: Parameters<typeof service.start>[0]["replica"]["onChange"] = (listener) => {
    desk.listeners.add(listener);
    return () => void desk.listeners.delete(listener);
  };
  return { time, router, book, desk, service, start: () => service.start({ self: SELF, view: desk.view, replica: { onChange } }) };
}

t.test("a container's ports: asked for while it has a process, and of this host's with --forward only", async (t) => {
  const { time, router, desk, service, start } = host({ ...OWN, forward: { mesh: false, api: false } });
  desk.take(
    ...held("web", 8080),
    ...held("quiet", 8081, { forward: false }),
    ...held("far", 8082, { on: "peer 2" }),
    phase("web", "pulling", 30),
    phase("quiet", "running", 30),
  );
  t.same(service.of(idOf("web")), [], "nothing is known yet");
  start();
  await time.pass(1_000);
  t.same(router.asked, []);
  t.match(service.of(idOf("web")), [{ hostPort: 8080, protocol: "tcp", external: "", note: "not forwarded while it does not run" }]);
  for (const [at, text] of ["starting", "running", "backoff", "running"].entries()) {
    desk.take(phase("web", text, 31 + at));
    await time.pass(1_000);
    t.same(router.mapped(), ["8080/tcp -> 8080"], text);
  }
  t.equal(router.asked.filter((what) => what.startsWith("map")).length, 1, "one that is started again keeps what it has");
  t.same(service.of(idOf("web")), [{ hostAddress: "", hostPort: 8080, protocol: "tcp", external: "11.0.0.1:8080", note: "" }]);
  t.same(service.of(idOf("quiet")), [], "not asked for");
  desk.take(phase("web", "ended", 40));
  await time.pass(1_000);
  t.same(router.mapped(), []);
  desk.take(phase("web", "running", 41));
  await time.pass(1_000);
  t.same(router.mapped(), ["8080/tcp -> 8080"], "and again with its process");
  router.trouble = { kind: "refused", reason: "the router has no room for another mapping" };
  router.restart();
  await time.pass(60_000);
  t.match(service.of(idOf("web")), [{ external: "", note: "the router has no room for another mapping" }]);
  router.trouble = undefined;
  await time.pass(60_000);
  t.same(router.mapped(), ["8080/tcp -> 8080"]);
  desk.take(changes("Remove", [idOf("web")]));
  await time.pass(1_000);
  t.same(router.mapped(), [], "removed by a user, whatever its holder says yet");
  await service.stop();
});

t.test("the peer's own ports, before those of containers; a mapping of an earlier process that nobody wants goes", async (t) => {
  const { time, router, book, desk, service, start } = host();
  router.entries.set("9999/tcp", { internalPort: 9_999, expiresMs: Number.POSITIVE_INFINITY });
  const { gateway, local: internalAddress } = ROUTE;
  book.mappings = [{ via: "pcp", gateway, internalAddress, protocol: "tcp", internalPort: 9_999, externalPort: 9_999, preferredPort: 9_999 }];
  desk.take(...held("web", 8080), phase("web", "running", 30));
  await time.pass(60_000);
  t.same(router.mapped(), ["9999/tcp -> 9999"], "until it is known what runs here nothing is touched");
  t.equal(service.external("mesh"), undefined);
  t.equal(service.whyNotOutside(), "this host is starting");
  start();
  await time.pass(5_000);
  t.same(router.mapped(), ["7440/tcp -> 7440", "8443/tcp -> 8443", "8080/tcp -> 8080"]);
  t.same(service.external("mesh"), { address: "11.0.0.1", port: 7_440 });
  t.same(service.external("api"), { address: "11.0.0.1", port: 8_443 });
  t.equal(service.whyNotOutside(), "");
  router.trouble = { kind: "refused", reason: "no room" };
  router.restart();
  await time.pass(60_000);
  t.equal(service.external("mesh"), undefined, "what is not there is not announced");
  t.equal(service.whyNotOutside(), "PCP: no room");
  await service.stop();
});

t.test("which own ports can be forwarded", async (t) => {
  const ports = (more: Partial<typeof OWN>) => ownForwards({ ...OWN, ...more }).map(({ of, port, hostAddress }) => [of, port, hostAddress?.value]);
  t.same(ports({}), [
    ["mesh", 7_440, undefined],
    ["api", 8_443, undefined],
  ]);
  t.same(ports({ forward: { mesh: false, api: true }, apiListen: "192.168.1.5:8443" }), [["api", 8_443, 0xc0a8_0105n]]);
  t.same(ports({ listen: ["/ip6/::/tcp/7440", "/ip4/192.168.1.5/tcp/7441"], forward: { mesh: true, api: false } }), [["mesh", 7_441, 0xc0a8_0105n]]);
  t.same(ports({ listen: ["/ip4/0.0.0.0/tcp/0"], apiListen: "[::]:8443" }), [["api", 8_443, undefined]], "a port that is another one at each start cannot be");
});

/** A peer that asks others about containers, and is asked. */
function asker(hosts: Readonly<Record<string, "alive" | "silent" | "unreachable">>) {
  const asked: string[] = [];
  let answer: ((request: object, from: string) => Promise<{ readonly containers: readonly object[] }>) | undefined;
  const signed = { body: Buffer.from(JSON.stringify({ containers: ["web"] })), signatureInput: "", signature: "" };
  const caller = { signed, role: "viewer" };
  const desk = new Desk().take(...MEMBERS, ...held("web", 80), ...held("far", 81, { on: "peer 2" }), ...held("lost", 82, { on: "peer 3" }));
  const here: ForwardsHere = { of: () => [{ hostAddress: "", hostPort: 80, protocol: "tcp", external: "11.0.0.1:80", note: "" }], whyNotOutside: () => "" };
  const parts = {
    self: SELF,
    view: desk.view,
    liveness: { of: (peer: PeerId) => ({ standing: hosts[peer] === "unreachable" ? "unreachable" : "alive" }) },
    authenticator: {
      passedOn: async (call: string, request: unknown) => {
        if (call !== "ContainerStatus" || request !== signed) throw new CcError("UNAUTHENTICATED", "not the user's own request");
        return caller;
      },
    },
    mesh: {
      handle: (_name: string, handler: typeof answer) => {
        answer = handler;
      },
      call: async (peer: PeerId, _name: string, { containers }: { readonly containers: readonly string[] }) => {
        asked.push(peer);
        if (hosts[peer] === "silent") throw new CcError("TIMEOUT", "no answer within 2000 ms");
        return {
          containers: containers.map((container) => ({
            container,
            ports: [{ hostAddress: "", hostPort: 81, protocol: "tcp", external: "11.0.0.2:81", note: "" }],
          })),
        };
      },
    },
  };
  const ask = createAskForwards(parts as never, here);
  const { view } = desk;
  const all = () => ask(view.containers(), caller as never, new AbortController().signal);
  const passOn = async (containers: readonly string[], request: object | undefined = signed) => {
    if (answer === undefined) throw new Error("nobody answers");
    return await answer({ request, containers }, peerId("peer 2"));
  };
  return { all, asked, passOn };
}

t.test("holders are asked side by side; who is away is named", async (t) => {
  const { all, asked } = asker({ [peerId("peer 2")]: "alive", [peerId("peer 3")]: "unreachable" });
  const said = await all();
  t.match(said.get(idOf("web")), [{ external: "11.0.0.1:80" }]);
  t.match(said.get(idOf("far")), [{ external: "11.0.0.2:81" }]);
  t.match(said.get(idOf("lost")), [{ external: "", note: /cannot be reached/ }]);
  t.same(asked, [peerId("peer 2")]);
  const silent = await asker({ [peerId("peer 2")]: "silent" }).all();
  t.match(silent.get(idOf("far")), [{ external: "", note: /did not tell \(no answer within 2000 ms\)/ }]);
});

t.test("a holder tells what the user named, on the user's own request only", async (t) => {
  const { passOn } = asker({});
  t.match(await passOn([idOf("web"), idOf("far")]), { containers: [{ container: idOf("web"), ports: [{ external: "11.0.0.1:80" }] }] });
  t.equal((await passOn([idOf("far")])).containers.length, 0);
  await t.rejects(passOn([idOf("web")], {}), { code: "UNAUTHENTICATED" });
});
