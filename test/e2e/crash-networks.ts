import type { ChildProcess } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import type { Test } from "tap";
import type { SeededRandom } from "../../nodes/simulated/random.ts";
import { eventually, type Outcome, type TestLab } from "./lab.ts";
import { type Ask, alike, flushRules, type Held, heldOn, leftOn, rulesOn, wantedOn } from "./vpc-kernel.ts";
import { endOf, Inside, type Member, startMember } from "./vpc-scene.ts";

type Call = (words: readonly string[]) => Promise<Outcome>;
type Ping = { readonly way: string; readonly child: ChildProcess; readonly said: Promise<string> };

const HOSTS = [1, 2, 3];
const VPC = "steady";
const MOVING_MAX = 4;
const RULES_MAX = 6;
/** The last may be on its way when the loop is ended. */
const LOST_MAX = 1;
const SETTLED_MS = 60_000;
/** What somebody else took away is back within this time; busy machines take a little longer. */
const PUT_RIGHT_MS = 30_000;

/**
 * Containers of a VPC that talk on, while others of it come and go, its rules change, and peers die. What is left afterwards in the
 * kernels is compared with what a peer says there should be.
 */
export class NetworksUnderKills {
  readonly #lab: TestLab;
  readonly #call: Call;
  readonly #image: string;
  readonly #random: SeededRandom;
  readonly #inside: Inside;
  readonly #pings: Ping[] = [];
  readonly #moving: string[] = [];
  readonly #rules: string[] = [];
  #attached = 0;
  #detached = 0;
  #changed = 0;

  constructor(parts: { readonly lab: TestLab; readonly call: Call; readonly image: string; readonly random: SeededRandom }) {
    this.#lab = parts.lab;
    this.#call = parts.call;
    this.#image = parts.image;
    this.#random = parts.random;
    this.#inside = new Inside(parts.lab);
  }

  /** From now on each of three pings the next ten times a second, until `check`. */
  async begin(t: Test): Promise<void> {
    const { code, stderr } = await this.#lab.cc(["vpc", "create", "--cidr", "10.9.0.0/24", "--name", VPC]);
    t.equal(code, 0, stderr);
    const talk = "trap 'exit 0' TERM; while :; do sleep 0.2; done";
    const members = await Promise.all(HOSTS.map((host) => startMember(this.#lab, this.#image, VPC, host, [], talk)));
    for (const [at, from] of members.entries()) {
      const to = members[(at + 1) % members.length] as Member;
      await eventually(`${from.name} reaches ${to.name}`, async () => (await this.#inside.by(from, `busybox ping -c1 -W1 ${to.address}`)).code === 0);
      const child = this.#inside.startBy(from, ["busybox", "ping", "-i", "0.1", to.address]);
      this.#pings.push({ way: `${from.name} to ${to.name}`, child, said: endOf(child) });
    }
  }

  async work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const dice = this.#random.below(100);
      if (this.#moving.length === 0 || (this.#moving.length < MOVING_MAX && dice < 35)) await this.#attach();
      else if (dice < 55) await this.#detach();
      else if (this.#rules.length === 0 || (this.#rules.length < RULES_MAX && dice < 80)) await this.#addRule();
      else await this.#removeRule();
      await pause(this.#random.between(0, 200));
    }
  }

  async #attach(): Promise<void> {
    const words = ["run", "--detach", "--stop-signal", "KILL", "--vpc", VPC, "--label", "kind=moving", "--memory", "16m", "--disk", "16m"];
    const { code, stdout } = await this.#call([...words, "--image", this.#image, "--", "sleep", "100000"]);
    if (code !== 0) return;
    this.#attached += 1;
    this.#moving.push(stdout.trim());
  }

  /** Where nobody was there to take it the container stays, and its network with it. */
  async #detach(): Promise<void> {
    const [oldest] = this.#moving;
    if (oldest === undefined || (await this.#call(["rm", "--force", oldest])).code !== 0) return;
    this.#detached += 1;
    this.#moving.shift();
  }

  /** About some of the containers or all of them, never about pings. */
  async #addRule(): Promise<void> {
    const action = this.#random.chance(0.5) ? "allow" : "deny";
    const who = this.#random.chance(0.5) ? ["--label", "kind=moving"] : [];
    const words = ["--direction", "in", "--protocol", "tcp", "--port", String(this.#random.between(1_000, 2_000))];
    const { code, stdout } = await this.#call(["firewall", action, "--vpc", VPC, ...who, ...words]);
    if (code !== 0) return;
    this.#changed += 1;
    this.#rules.push(stdout.trim());
  }

  async #removeRule(): Promise<void> {
    const [oldest] = this.#rules;
    if (oldest === undefined || (await this.#call(["firewall", "remove", oldest])).code !== 0) return;
    this.#changed += 1;
    this.#rules.shift();
  }

  /** When all peers are back, and nothing is on its way any more. */
  async check(t: Test, kills: number): Promise<void> {
    for (const { way, child, said } of this.#pings.splice(0)) {
      child.kill("SIGINT");
      const [sent = Number.NaN, came = Number.NaN] = (/(\d+) packets transmitted, (\d+) packets received/.exec(await said) ?? []).slice(1).map(Number);
      t.comment(`${way}: ${sent} pings`);
      t.ok(sent - came <= LOST_MAX, `${way}: ${sent - came} of ${sent} pings were lost`);
    }
    t.comment(`${this.#attached} attached, ${this.#detached} detached, ${this.#changed} changes of rules`);
    t.ok(this.#attached + this.#detached + this.#changed > kills / 2, "while much else changed");
    const known = new Set((await this.#ask<{ id: string }[]>(["firewall", "list"])).map(({ id }) => id));
    t.same(
      this.#rules.filter((id) => !known.has(id)),
      [],
      "no rule is lost",
    );
    await Promise.all(HOSTS.map((host) => this.#isAsStateSays(t, host)));
    const last = await this.#call(["firewall", "deny", "--vpc", VPC, "--protocol", "tcp", "--port", "9"]);
    t.equal(last.code, 0, last.stderr);
    await Promise.all(HOSTS.map((host) => this.#isRenderedAgain(t, host)));
  }

  readonly #ask: Ask = async <T>(words: readonly string[]): Promise<T> => {
    const { code, stdout, stderr } = await this.#call([...words, "--json"]);
    if (code !== 0) throw new Error(`cc ${words.join(" ")}: ${stderr}`);
    return JSON.parse(stdout);
  };

  async #isAsStateSays(t: Test, host: number): Promise<void> {
    let [held, wanted]: [Held, Held] = [[], ["nothing was said"]];
    await eventually(
      "as state says",
      async () => {
        const [found, said] = [await heldOn(this.#inside, host), await wantedOn(this.#ask, this.#inside, host)];
        [held, wanted] = [await alike(this.#inside, host, found), await alike(this.#inside, host, said)];
        return held.join() === wanted.join();
      },
      SETTLED_MS,
    ).catch((error: unknown) => t.comment(String(error))); // Shown by what is compared next.
    t.same(held, wanted, `devices, forwarding entries and neighbours of h${host} are what state says`);
    t.ok(held.length > 10, `${held.length} of them`);
  }

  /** The rules that grew by changes and kills are those that come from state at once. */
  async #isRenderedAgain(t: Test, host: number): Promise<void> {
    const hasRule = (rules: readonly string[]): boolean => rules.some((place) => place.includes("/containers/") && place.includes("tcp dport 9 drop"));
    const before = await eventually("the last rule is there", async () => {
      const rules = await rulesOn(this.#inside, host);
      return hasRule(rules) && rules;
    });
    await flushRules(this.#inside, host);
    t.not((await rulesOn(this.#inside, host)).join(), before.join(), "taken away");
    let after: readonly string[] = [];
    await eventually(
      "put right",
      async () => {
        after = await rulesOn(this.#inside, host);
        return after.join() === before.join();
      },
      PUT_RIGHT_MS,
    ).catch(() => undefined); // Shown by what is compared next.
    t.same(after, before, `the rules of h${host} are those that follow from state`);
  }

  /** After all containers are gone. */
  async clear(t: Test): Promise<void> {
    const rules = await this.#ask<{ id: string }[]>(["firewall", "list"]);
    t.equal((await this.#call(["firewall", "remove", ...rules.map(({ id }) => id)])).code, 0);
    const vpcs = await this.#ask<{ id: string }[]>(["vpc", "list"]);
    const deleted = await this.#call(["vpc", "delete", ...vpcs.map(({ id }) => id)]);
    t.equal(deleted.code, 0, deleted.stderr);
    for (const host of HOSTS) {
      let left = await leftOn(this.#inside, host);
      await eventually(
        "nothing is left",
        async () => {
          left = await leftOn(this.#inside, host);
          return left.length === 0;
        },
        SETTLED_MS,
      ).catch(() => undefined); // Shown by what is compared next.
      t.same(left, [], `nothing of VPCs is left on h${host}`);
    }
  }
}
