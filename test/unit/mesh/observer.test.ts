import t from "tap";
import { type Host, SmallWorld } from "./small-world.ts";

const settled = async (count: number, seed = 1): Promise<{ world: SmallWorld; hosts: Host[] }> => {
  const world = new SmallWorld(count, seed);
  await world.run(5_000);
  return { world, hosts: world.hosts };
};
const at = (hosts: Host[], n: number): Host => {
  const host = hosts[n];
  if (host === undefined) throw new RangeError(`no host ${n}`);
  return host;
};

t.test("all know all within a second of their start", async (t) => {
  const world = new SmallWorld(3);
  const took = await world.until(() => world.hosts.every((a) => world.hosts.every((b) => a.standingOf(b) === "alive")), 5_000);
  t.ok(took !== undefined && took <= 1_500, `took ${took} ms`);
  t.same(at(world.hosts, 0).observer.reachable(), [at(world.hosts, 1).id, at(world.hosts, 2).id]);
});

t.test("a host that dies is noticed in 2 to 6 s, whatever the phase of the probes", async (t) => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const { world, hosts } = await settled(3, seed);
    await world.run(seed * 97);
    at(hosts, 2).dead = true;
    const took = await world.until(
      () => at(hosts, 0).standingOf(at(hosts, 2)) === "unreachable" && at(hosts, 1).standingOf(at(hosts, 2)) === "unreachable",
      15_000,
    );
    t.ok(took !== undefined && took >= 2_000 && took <= 6_000, `seed ${seed}: took ${took} ms`);
    t.same(at(hosts, 0).observer.reachable(), [at(hosts, 1).id]);
  }
});

t.test("a silent link is noticed too, and its connection is aborted by both sides", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, b, c] = [at(hosts, 0), at(hosts, 1), at(hosts, 2)];
  world.cut(a, c);
  world.cut(b, c);
  const took = await world.until(
    () => a.standingOf(c) === "unreachable" && b.standingOf(c) === "unreachable" && c.standingOf(a) === "unreachable" && c.standingOf(b) === "unreachable",
    15_000,
  );
  t.ok(took !== undefined && took <= 6_500, `took ${took} ms`);
  t.ok(a.disconnected.includes(c.id));
  t.ok(c.disconnected.includes(a.id));
  world.heal();
  const back = await world.until(() => hosts.every((x) => hosts.every((y) => x.standingOf(y) === "alive")), 10_000);
  t.ok(back !== undefined && back <= 4_000, `back after ${back} ms`);
});

t.test("one broken link of three makes a suspect, not an unreachable host", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, b, c] = [at(hosts, 0), at(hosts, 1), at(hosts, 2)];
  world.cut(a, c);
  await world.run(20_000);
  t.equal(a.standingOf(c), "suspect");
  t.equal(c.standingOf(a), "suspect");
  t.equal(b.standingOf(c), "suspect", "b hears that a doubts c");
  t.same(a.observer.of(c.id).seenBy, [b.id]);
  t.ok(hosts.every((host) => host.changes.every((change) => change.standing !== "unreachable")));
});

t.test("a link that works one way counts as broken for both, and the third is not fooled", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, b, c] = [at(hosts, 0), at(hosts, 1), at(hosts, 2)];
  world.cut(a, c, true);
  await world.run(20_000);
  t.equal(a.standingOf(c), "suspect");
  t.equal(c.standingOf(a), "suspect", "c's questions go unanswered: a's replies are lost");
  t.not(b.standingOf(c), "unreachable");
  t.not(b.standingOf(a), "unreachable");
});

t.test("two hosts: one's own word is enough", async (t) => {
  const { world, hosts } = await settled(2);
  at(hosts, 1).dead = true;
  const took = await world.until(() => at(hosts, 0).standingOf(at(hosts, 1)) === "unreachable", 15_000);
  t.ok(took !== undefined && took <= 6_000, `took ${took} ms`);
});

t.test("a host whose own loop stalled for 20 s condemns nobody", async (t) => {
  for (const count of [2, 3, 5]) {
    const { world, hosts } = await settled(count);
    const slow = at(hosts, 0);
    slow.changes.length = 0;
    slow.stalledUntilMs = world.nowMs + 20_000;
    await world.run(30_000);
    t.ok(
      slow.changes.every((change) => change.standing !== "unreachable"),
      `${count} hosts: ${JSON.stringify(slow.changes.map((change) => change.standing))}`,
    );
    t.ok(
      hosts.every((a) => hosts.every((b) => a.standingOf(b) === "alive")),
      "all is well again",
    );
  }
});

t.test("a host that runs for a millisecond in every 1.2 s condemns nobody", async (t) => {
  const { world, hosts } = await settled(2);
  const slow = at(hosts, 0);
  slow.changes.length = 0;
  for (let round = 0; round < 20; round += 1) {
    slow.stalledUntilMs = world.nowMs + 1_200;
    await world.run(1_201);
  }
  t.ok(slow.changes.every((change) => change.standing !== "unreachable"));
});

t.test("a short stall of everybody moves nobody", async (t) => {
  const { world, hosts } = await settled(3);
  for (let round = 0; round < 10; round += 1) {
    for (const host of hosts) host.stalledUntilMs = world.nowMs + 1_500;
    await world.run(4_000);
  }
  t.ok(hosts.every((host) => host.changes.every((change) => change.standing !== "unreachable")));
});

t.test("a stalled host is missed by the others, and refutes when it runs again", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, b, c] = [at(hosts, 0), at(hosts, 1), at(hosts, 2)];
  c.stalledUntilMs = world.nowMs + 15_000;
  t.ok(await world.until(() => a.standingOf(c) === "unreachable" && b.standingOf(c) === "unreachable", 10_000));
  await world.until(() => world.nowMs >= c.stalledUntilMs, 20_000);
  const back = await world.until(() => a.standingOf(c) === "alive" && b.standingOf(c) === "alive", 10_000);
  t.ok(back !== undefined && back <= 2_500, `back after ${back} ms`);
  t.ok(a.observer.of(c.id).incarnation >= 1, "it answered the words against it");
});

t.test("a restarted peer is alive at once and known as a new one", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, c] = [at(hosts, 0), at(hosts, 2)];
  c.dead = true;
  await world.until(() => a.standingOf(c) === "unreachable", 10_000);
  c.restart();
  const back = await world.until(() => hosts.every((x) => x.standingOf(c) === "alive"), 10_000);
  t.ok(back !== undefined && back <= 2_500, `back after ${back} ms`);
  t.equal(a.observer.of(c.id).startNumber, 2);
});

t.test("a restart within two seconds makes nobody unreachable", async (t) => {
  const { world, hosts } = await settled(3);
  const c = at(hosts, 2);
  c.dead = true;
  await world.run(1_900);
  c.restart();
  await world.run(10_000);
  t.ok(hosts.every((host) => host.changes.every((change) => change.standing !== "unreachable" || host === c)));
});

t.test("a host that missed the last life of the dead does not keep it half alive", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, b, c] = [at(hosts, 0), at(hosts, 1), at(hosts, 2)];
  world.cut(b, c);
  await world.run(8_000);
  c.dead = true;
  await world.run(100);
  c.restart(); // only a can hear of the new life
  await world.run(3_000);
  t.equal(a.observer.of(c.id).startNumber, 2);
  t.equal(b.observer.of(c.id).startNumber, 1);
  c.dead = true;
  const took = await world.until(() => a.standingOf(c) === "unreachable", 15_000);
  t.ok(took !== undefined && took <= 7_000, `took ${took} ms`);
});

t.test("five hosts split two and three: each side holds the other unreachable", async (t) => {
  const { world, hosts } = await settled(5);
  for (const a of hosts.slice(0, 2)) for (const b of hosts.slice(2)) world.cut(a, b);
  const took = await world.until(
    () => hosts.slice(0, 2).every((a) => hosts.slice(2).every((b) => a.standingOf(b) === "unreachable" && b.standingOf(a) === "unreachable")),
    15_000,
  );
  t.ok(took !== undefined && took <= 7_000, `took ${took} ms`);
  t.equal(at(hosts, 2).standingOf(at(hosts, 3)), "alive");
});

t.test("a flapping host must show more and more before it is believed", async (t) => {
  const { world, hosts } = await settled(2);
  const [a, c] = [at(hosts, 0), at(hosts, 1)];
  const backMs: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    world.cut(a, c);
    await world.until(() => a.standingOf(c) === "unreachable", 20_000);
    world.heal();
    backMs.push((await world.until(() => a.standingOf(c) !== "unreachable", 30_000)) ?? Number.NaN);
  }
  t.ok((backMs[3] ?? 0) > 3 * (backMs[0] ?? Number.POSITIVE_INFINITY), `back after ${backMs.join(", ")} ms`);
  await world.run(90_000);
  world.cut(a, c);
  await world.until(() => a.standingOf(c) === "unreachable", 20_000);
  world.heal();
  const calm = await world.until(() => a.standingOf(c) !== "unreachable", 30_000);
  t.ok(calm !== undefined && calm <= 2_500, "forgiven after a quiet minute");
});

t.test("a clock that is a day off is measured, and does not move the median", async (t) => {
  const world = new SmallWorld(3);
  const [a, b, c] = [at(world.hosts, 0), at(world.hosts, 1), at(world.hosts, 2)];
  c.offsetMs = 86_400_000;
  b.offsetMs = 300;
  await world.run(10_000);
  t.ok(Math.abs((a.observer.of(c.id).clockOffsetMs ?? 0) - 86_400_000) < 5);
  t.ok(Math.abs(a.observer.medianOffsetMs() - 300) < 5, `the middle one is b: ${a.observer.medianOffsetMs()}`);
  t.ok(Math.abs(c.observer.medianOffsetMs() - (300 - 86_400_000)) < 5, "the wrong one knows it");
  t.equal(a.standingOf(c), "alive", "a wrong clock is no reason to doubt");
});

t.test("of two hosts both choose the same clock", async (t) => {
  const world = new SmallWorld(2);
  at(world.hosts, 1).offsetMs = -5_000;
  await world.run(5_000);
  const [a, b] = [at(world.hosts, 0), at(world.hosts, 1)];
  t.ok(Math.abs(a.offsetMs + a.observer.medianOffsetMs() - (b.offsetMs + b.observer.medianOffsetMs())) < 5);
});

t.test("the load is constant above 16 hosts", async (t) => {
  const perHostAndSecond = async (count: number): Promise<number> => {
    const { world } = await settled(count);
    world.calls = 0;
    await world.run(20_000);
    return world.calls / 20 / count;
  };
  t.ok((await perHostAndSecond(3)) < 1.6);
  const [small, large] = [await perHostAndSecond(16), await perHostAndSecond(40)];
  t.ok(large < small * 1.15, `${large} against ${small} probes a second`);
});

t.test("a host whose probes go unanswered while other calls are answered is late, not gone", async (t) => {
  const { world, hosts } = await settled(2);
  const [a, b] = [at(hosts, 0), at(hosts, 1)];
  a.deaf = true;
  for (let n = 0; n < 100; n += 1) {
    await world.run(200);
    a.answeredAtMs.set(b.id, world.nowMs);
  }
  t.equal(a.standingOf(b), "alive");
  t.same(a.disconnected, []);
  const took = await world.until(() => a.standingOf(b) === "unreachable", 10_000);
  t.ok(took !== undefined && took >= 3_000, `and gone when nothing is: after ${took} ms`);
});

t.test("of 40 hosts one dies: all notice within 6 s, though each probes rarely", async (t) => {
  const { world, hosts } = await settled(40);
  const dead = at(hosts, 7);
  dead.dead = true;
  const took = await world.until(() => hosts.every((host) => host === dead || host.standingOf(dead) === "unreachable"), 20_000);
  t.ok(took !== undefined && took <= 6_000, `took ${took} ms`);
});

t.test("a host that is no member is unreachable, oneself is alive", async (t) => {
  const { world, hosts } = await settled(3);
  const [a, c] = [at(hosts, 0), at(hosts, 2)];
  world.hosts.splice(2, 1);
  await world.run(1_000);
  t.equal(a.standingOf(c), "unreachable");
  t.equal(a.standingOf(a), "alive");
});
